//! Pictures and clips in and out, sound and unsound.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use forerun::Frame;
use forerun::media::{
    ClipReader, Kind, MediaError, Mp4Options, decode_picture, describe, encode_mp4, encode_png, read_clip,
    read_picture, sniff, write_gif, write_mp4, write_png,
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A picture with edges, slopes and colours, different at every `t`.
fn scene(width: usize, height: usize, t: usize) -> Frame {
    let mut data = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let inside = x >= t * 3 % width && x < t * 3 % width + 12 && (8..20).contains(&y);
            let base = [(x * 200 / width) as u8, (y * 200 / height) as u8, 90];
            data.extend(if inside { [220, 60, 40] } else { base });
        }
    }
    Frame::new(width, height, data).unwrap()
}

fn difference(a: &Frame, b: &Frame) -> f64 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let sum: u64 = a.data.iter().zip(&b.data).map(|(x, y)| u64::from(x.abs_diff(*y))).sum();
    sum as f64 / a.data.len() as f64
}

/// Means of a 4 x 4 grid, as in known_good.json.
fn grid(frame: &Frame) -> Vec<f64> {
    let (w, h) = (frame.width / 4, frame.height / 4);
    let mut means = Vec::new();
    for gy in 0..4 {
        for gx in 0..4 {
            for c in 0..3 {
                let pixels = (0..h).flat_map(|y| (0..w).map(move |x| (gx * w + x, gy * h + y)));
                let sum: u64 = pixels.map(|(x, y)| u64::from(frame.pixel(x, y).unwrap()[c])).sum();
                means.push(sum as f64 / (w * h) as f64);
            }
        }
    }
    means
}

#[test]
fn clips_of_other_encoders_come_out_as_pyav_decodes_them() {
    let known: serde_json::Value =
        serde_json::from_slice(&fs::read(data("known_good.json")).unwrap()).unwrap();
    for (name, known) in known.as_object().unwrap() {
        let mut clip = ClipReader::open(&data(name)).unwrap();
        assert_eq!(clip.len(), known["frames"].as_u64().unwrap() as usize, "{name}");
        let mut places: Vec<usize> =
            known["grid"].as_object().unwrap().keys().map(|k| k.parse().unwrap()).collect();
        // Backwards and in jumps: the right frame whatever came before.
        places.sort_unstable_by_key(|k| (k % 3, usize::MAX - k));
        for k in places {
            let ours = grid(&clip.frame(k).unwrap());
            for (i, a) in ours.iter().enumerate() {
                let b = known["grid"][k.to_string()][i].as_f64().unwrap();
                assert!((a - b).abs() <= 0.6, "{name}, frame {k}, cell {i}: {a} is not {b}");
            }
        }
        let middle = clip.len() / 2;
        let hash = forerun::fsx::sha256_hex(&clip.frame(middle).unwrap().data);
        assert_eq!(hash, known["sha256"].as_str().unwrap(), "{name}: every byte of the middle frame");
    }
}

#[test]
fn a_clip_tagged_bt709_is_decoded_as_such() {
    // ffmpeg made it from the flat colour 200, 30, 60; with the matrix of BT.601 green would be off by 30.
    let frame = ClipReader::open(&data("x264_bt709.mp4")).unwrap().frame(1).unwrap();
    for (a, b) in frame.pixel(30, 30).unwrap().iter().zip([200u8, 30, 60]) {
        assert!(a.abs_diff(b) <= 4, "{:?}", frame.pixel(30, 30));
    }
}

#[test]
fn a_clip_comes_back_frame_by_frame_in_its_colours() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/clip.mp4");
    let frames: Vec<Frame> = (0..23).map(|t| scene(64, 48, t)).collect();
    for options in [Mp4Options::dataset(10.0), Mp4Options::export(29.97)] {
        write_mp4(&path, &frames, options).unwrap();
        let mut clip = ClipReader::open(&path).unwrap();
        assert_eq!((clip.len(), clip.size(), clip.codec()), (23, (64, 48), "H.264"));
        assert!((clip.fps() - options.fps).abs() < 0.05, "{}", clip.fps());
        assert_eq!(clip.keys(), if options.gop == 2 { 12 } else { 1 });
        for t in [22, 0, 11, 12, 5, 21, 20, 1, 2, 3] {
            let off = difference(&clip.frame(t).unwrap(), &frames[t]);
            assert!(off < 3.0, "frame {t}: {off}");
            assert_eq!(clip.index_at(t as f64 / options.fps + 1e-5, 1e-3), Some(t));
        }
        assert!(matches!(clip.frame(23), Err(MediaError::NoFrame { index: 23, len: 23, .. })));
        assert!(clip.frame(3).is_ok());
        assert_eq!(clip.index_at(99.0, 0.1), None);
    }
}

#[test]
fn quality_follows_the_quantiser_and_flat_colours_are_right() {
    let frames = vec![scene(64, 48, 1); 4];
    let size = |quantiser| encode_mp4(&frames, Mp4Options { fps: 10.0, gop: 2, quantiser }).unwrap().len();
    assert!(size(14) > size(22) && size(22) > size(36));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flat.mp4");
    for colour in [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 64, 200]] {
        write_mp4(&path, &[Frame::filled(32, 32, colour)], Mp4Options::dataset(5.0)).unwrap();
        let (back, fps) = read_clip(&path).unwrap();
        assert_eq!((back.len(), fps), (1, 5.0));
        for (a, b) in back[0].pixel(16, 16).unwrap().iter().zip(colour) {
            assert!(a.abs_diff(b) <= 4, "{colour:?} came back as {:?}", back[0].pixel(16, 16));
        }
    }
}

#[test]
fn odd_sizes_are_rounded_up_and_impossible_ones_refused() {
    let bytes = encode_mp4(&[scene(33, 31, 0)], Mp4Options::export(10.0)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.mp4"), bytes).unwrap();
    assert_eq!(ClipReader::open(&dir.path().join("x.mp4")).unwrap().size(), (34, 32));
    assert!(encode_mp4(&[], Mp4Options::export(10.0)).is_err());
    assert!(encode_mp4(&[scene(8, 8, 0)], Mp4Options::export(10.0)).is_err());
    assert!(encode_mp4(&[scene(32, 32, 0)], Mp4Options::export(f64::NAN)).is_err());
    assert!(encode_mp4(&[scene(32, 32, 0), scene(34, 32, 0)], Mp4Options::export(10.0)).is_err());
}

#[test]
fn every_picture_format_is_told_by_content_and_decoded() {
    use image::ImageFormat as F;
    let frame = scene(40, 30, 2);
    let source = image::RgbImage::from_raw(40, 30, frame.data.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (format, lossless, kind) in [
        (F::Png, true, Kind::Png),
        (F::Jpeg, false, Kind::Jpeg),
        (F::WebP, true, Kind::Webp),
        (F::Bmp, true, Kind::Bmp),
        (F::Gif, false, Kind::Gif),
        (F::Tiff, true, Kind::Tiff),
    ] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        source.write_to(&mut bytes, format).unwrap();
        let bytes = bytes.into_inner();
        assert_eq!(sniff(&bytes[..64]), kind);
        // The name says nothing.
        let path = dir.path().join("picture.txt");
        fs::write(&path, &bytes).unwrap();
        let back = read_picture(&path).unwrap();
        let off = difference(&back, &frame);
        assert!(if lossless { off == 0.0 } else { off < 6.0 }, "{format:?}: {off}");
        for cut in [bytes.len() / 2, 70, 20, 1] {
            let text = match decode_picture(&path, &bytes[..cut]) {
                Err(e) => e.to_string(),
                // Some decoders show what is there of a cut-off picture.
                Ok(part) => {
                    assert_eq!((part.width, part.height), (40, 30));
                    continue;
                }
            };
            assert!(text.contains("picture.txt"), "{format:?} cut at {cut}: {text}");
        }
        for i in 0..200 {
            let mut bad = bytes.clone();
            let at = (i * 31 + 9) % bad.len();
            bad[at] ^= 0x55;
            let _ = decode_picture(&path, &bad);
        }
    }
}

#[test]
fn png_out_is_lossless_and_half_transparent_pixels_lie_over_white() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/folder/x.png");
    let frame = scene(17, 9, 3);
    write_png(&path, &frame).unwrap();
    assert_eq!(read_picture(&path).unwrap(), frame);
    assert!(encode_png(&Frame { width: 4, height: 4, data: vec![0; 5] }).is_err());
    let see_through = image::RgbaImage::from_pixel(2, 2, image::Rgba([0, 0, 0, 127]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    see_through.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    assert_eq!(decode_picture(&path, &bytes.into_inner()).unwrap().pixel(1, 1), Some([128; 3]));
}

#[test]
fn what_is_no_picture_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("note.png");
    let text = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        read_picture(&path).unwrap_err().to_string()
    };
    assert!(text(b"hello, this is a note").contains("a text file"));
    assert!(text(b"").contains("an empty file"));
    assert!(text(b"\x89PNG\r\n\x1a\n").contains("damaged"));
    assert!(text(&fs::read(data("hevc.mp4")).unwrap()).contains("Open it as a clip"));
    assert!(text(b"PAR1xxxx").contains("Parquet"));
    let missing = read_picture(&dir.path().join("missing.png")).unwrap_err().to_string();
    assert!(missing.contains("missing.png") && missing.contains("Check the path"), "{missing}");
    assert!(read_picture(dir.path()).is_err());
    // A PNG header that claims 60,000 x 60,000 pixels costs an error, not ten gigabytes.
    let mut png = encode_png(&scene(16, 16, 0)).unwrap();
    png[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    fs::write(&path, &png).unwrap();
    let error = read_picture(&path).unwrap_err();
    assert!(matches!(error, MediaError::TooLarge { .. }), "{error}");
}

/// CRC-32 of PNG (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |mut crc, b| {
        crc ^= u32::from(*b);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
        crc
    })
}

#[test]
fn clips_that_are_not_decoded_are_named_with_what_to_do() {
    let text = |name: &str| ClipReader::open(&data(name)).unwrap_err().to_string();
    assert!(text("hevc.mp4").contains("HEVC") && text("hevc.mp4").contains("H.264"));
    assert!(text("h264_444.mp4").contains("4:4:4"));
    assert!(text("sound_only.mp4").contains("no video") && text("sound_only.mp4").contains("sound"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    let of = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        ClipReader::open(&path).unwrap_err().to_string()
    };
    assert!(of(b"\x1a\x45\xdf\xa3 webm").contains("WebM"));
    assert!(of(b"RIFF\0\0\0\0AVI LIST").contains("AVI"));
    assert!(of(b"just text").contains("a text file"));
    assert!(of(&encode_png(&scene(16, 16, 0)).unwrap()).contains("Open it as a picture"));
    assert!(of(b"\0\0\0\x18ftypisom\0\0\0\0isomiso2").contains("no index"));
}

#[test]
fn any_damage_in_a_clip_is_an_answer_not_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.mp4");
    let ours =
        encode_mp4(&(0..6).map(|t| scene(32, 32, t)).collect::<Vec<_>>(), Mp4Options::dataset(10.0)).unwrap();
    let others = ["x264_b_frames.mp4", "fragmented.mp4"].map(|n| fs::read(data(n)).unwrap());
    let av1 = fs::read(data("lerobot_v21/videos/chunk-000/observation.image/episode_000001.mp4")).unwrap();
    let mut failed = 0;
    for (whole, rounds) in [(&ours, 250), (&others[0], 120), (&others[1], 120), (&av1, 60)] {
        // Most rounds hit the index, where lengths and counts live.
        let index = whole.len().min(1200);
        for n in 0..rounds {
            let mut bytes = whole.clone();
            let at = if n % 4 == 3 { (n * 7919) % bytes.len() } else { (n * 101 + n / 7) % index };
            match n % 3 {
                0 => bytes[at] ^= 1 << (n % 8),
                1 => bytes[at] = 0xff,
                _ => bytes.truncate(at),
            }
            fs::write(&path, &bytes).unwrap();
            match ClipReader::open(&path) {
                Err(_) => failed += 1,
                Ok(mut clip) => {
                    assert!(clip.len() < 100_000);
                    for i in [0, clip.len() - 1, clip.len() / 2] {
                        failed += usize::from(clip.frame(i).is_err());
                    }
                }
            }
        }
    }
    assert!(failed > 100, "{failed}");
}

#[test]
fn gifs_go_out_and_come_in_with_their_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gif");
    let frames: Vec<Frame> = (0..6).map(|t| scene(48, 32, t)).collect();
    write_gif(&path, &frames, 12.5).unwrap();
    let mut clip = ClipReader::open(&path).unwrap();
    assert_eq!((clip.len(), clip.codec()), (6, "GIF"));
    assert!((clip.fps() - 12.5).abs() < 0.01, "{}", clip.fps());
    for (t, frame) in frames.iter().enumerate() {
        let off = difference(&clip.frame(t).unwrap(), frame);
        assert!(off < 12.0, "frame {t}: {off}");
    }
    assert!(clip.frame(6).is_err());
    assert!(write_gif(&path, &[], 10.0).is_err());
    let whole = fs::read(&path).unwrap();
    for cut in [10, 100, whole.len() / 2] {
        fs::write(&path, &whole[..cut]).unwrap();
        let _ = ClipReader::open(&path).map(|mut c| c.frame(0));
    }
}

#[test]
fn a_description_counts_and_finds_faults() {
    let good = describe(&data("x264_b_frames.mp4")).unwrap();
    assert_eq!((good.kind, good.frames, good.width, good.sound), ("clip", 40, 96, true));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.mp4");
    let bytes =
        encode_mp4(&(0..9).map(|t| scene(32, 32, t)).collect::<Vec<_>>(), Mp4Options::dataset(10.0)).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
    let cut = describe(&path).unwrap();
    assert!(!cut.sound && cut.problems[0].contains("frame 8"), "{:?}", cut.problems);
    write_png(&path, &scene(20, 10, 0)).unwrap();
    let picture = describe(&path).unwrap();
    assert_eq!(
        (picture.kind, picture.format.as_str(), picture.width, picture.frames),
        ("picture", "PNG picture", 20, 1)
    );
}
