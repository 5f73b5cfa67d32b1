"""Makes the embedded fonts of Forerun's window from their published files.

Usage: python subset.py FOLDER_WITH_INTER NOTO_SANS_CJK_REGULAR_TTC
(needs fonttools). README.md beside this file says where the published files come from.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTCollection, TTFont

HERE = Path(__file__).parent

# Latin scripts, general punctuation, arrows and the mathematical signs that the window uses.
LATIN = [
    *range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x2010, 0x2028), *range(0x2030, 0x205F),
    *range(0x2190, 0x219A), 0x20AC, 0x2122, 0x2126, 0x2206, 0x2211, 0x2212, 0x221A, 0x221E, 0x2248,
    0x2260, 0x2264, 0x2265, 0x2318, 0x21E7, 0x2325, 0x23CE, 0x0394, 0x03A9, 0x03BC, 0x03C0, 0x03C3,
]


def big5_level_1():
    """The 5,401 common characters of Big5 and its symbols (lead bytes A1..C6)."""
    found = set(range(0x20, 0x7F))
    for lead in range(0xA1, 0xC7):
        for trail in [*range(0x40, 0x7F), *range(0xA1, 0xFF)]:
            try:
                found.update(ord(c) for c in bytes([lead, trail]).decode("big5"))
            except UnicodeDecodeError:
                pass
    return sorted(found)


def tabular_digits(font):
    """Points the digits at their equally wide forms, so that running numbers do not jitter."""
    wide = {}
    gsub = font["GSUB"].table
    for record in gsub.FeatureList.FeatureRecord:
        if record.FeatureTag == "tnum":
            for index in record.Feature.LookupListIndex:
                for table in gsub.LookupList.Lookup[index].SubTable:
                    table = getattr(table, "ExtSubTable", table)
                    wide.update(getattr(table, "mapping", {}))
    for table in font["cmap"].tables:
        for code, glyph in table.cmap.items():
            if 0x30 <= code <= 0x39 or code in (0x2E, 0x2C, 0x3A, 0x2B, 0x2212):
                table.cmap[code] = wide.get(glyph, glyph)


def write(font, codes, target, features):
    options = subset.Options()
    options.layout_features = features
    options.hinting = False
    options.notdef_outline = True
    options.name_IDs = [0, 1, 2, 4, 6, 13, 14]
    options.drop_tables += ["DSIG", "VORG", "vhea", "vmtx"]
    worker = subset.Subsetter(options)
    worker.populate(unicodes=codes)
    worker.subset(font)
    font.save(HERE / target)
    print(target, (HERE / target).stat().st_size)


def main():
    inter, noto = Path(sys.argv[1]), Path(sys.argv[2])
    for weight in ["Regular", "SemiBold"]:
        font = TTFont(inter / f"Inter-{weight}.otf")
        tabular_digits(font)
        write(font, LATIN, f"Inter-{weight}-subset.otf", ["kern", "ccmp", "calt", "locl", "mark"])
    for font in TTCollection(noto).fonts:
        if font["name"].getDebugName(1) == "Noto Sans CJK TC":
            write(font, big5_level_1(), "NotoSansCJKtc-Regular-subset.otf", [])


main()
