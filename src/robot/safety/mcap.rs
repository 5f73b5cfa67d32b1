//! The black box as MCAP (<https://mcap.dev/spec>), which Foxglove, Rerun and others open: three topics of JSON messages,
//! `/ticks`, `/notes` and `/chunks`. Only what a file without chunks and compression needs is written.

use std::io::{self, Write};

/// A topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Ticks,
    Notes,
    Chunks,
}

const TOPICS: [(Topic, &str, &str, &str); 3] = [
    (
        Topic::Ticks,
        "/ticks",
        "Tick",
        r#"{"type":"object","properties":{"t":{"type":"number"},"state":{"type":"string"},"present":{"type":"array","items":{"type":"number"}},"load":{"type":"array","items":{"type":"number"}},"wish":{"type":"array","items":{"type":["number","null"]}},"sent":{"type":"array","items":{"type":"number"}},"volts":{"type":"number"},"celsius":{"type":"number"},"retries":{"type":"integer"},"bus_ms":{"type":"number"}}}"#,
    ),
    (
        Topic::Notes,
        "/notes",
        "Note",
        r#"{"type":"object","properties":{"t":{"type":"number"},"note":{"type":"string"}}}"#,
    ),
    (
        Topic::Chunks,
        "/chunks",
        "Chunk",
        r#"{"type":"object","properties":{"t":{"type":"number"},"chunk":{"type":"integer"},"actions":{"type":"integer"},"delay_ms":{"type":"number"},"first":{"type":"array","items":{"type":"number"}},"outcome":{"type":"string"}}}"#,
    ),
];

const MAGIC: [u8; 8] = [0x89, b'M', b'C', b'A', b'P', b'0', b'\r', b'\n'];

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Writes an MCAP file.
pub(super) struct Mcap<W: Write> {
    out: W,
    written: u64,
    counts: [u64; 3],
    first: u64,
    last: u64,
}

impl<W: Write> Mcap<W> {
    /// Starts a file: header, schemas, channels.
    pub fn new(out: W) -> io::Result<Self> {
        let mut this = Self { out, written: 0, counts: [0; 3], first: u64::MAX, last: 0 };
        this.raw(&MAGIC)?;
        let mut header = Vec::new();
        text(&mut header, "");
        text(&mut header, &format!("forerun {}", env!("CARGO_PKG_VERSION")));
        this.record(0x01, &header)?;
        this.describe()?;
        Ok(this)
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn record(&mut self, kind: u8, content: &[u8]) -> io::Result<()> {
        self.raw(&[kind])?;
        self.raw(&(content.len() as u64).to_le_bytes())?;
        self.raw(content)
    }

    /// Schemas and channels: before the first message, and again in the summary.
    fn describe(&mut self) -> io::Result<()> {
        for (i, (_, topic, name, schema)) in TOPICS.iter().enumerate() {
            let id = i as u16 + 1;
            let mut record = id.to_le_bytes().to_vec();
            text(&mut record, name);
            text(&mut record, "jsonschema");
            text(&mut record, schema);
            self.record(0x03, &record)?;
            let mut record = id.to_le_bytes().to_vec();
            record.extend(id.to_le_bytes());
            text(&mut record, topic);
            text(&mut record, "json");
            record.extend(0u32.to_le_bytes());
            self.record(0x04, &record)?;
        }
        Ok(())
    }

    /// Adds a message; `nanos` is its time since 1970.
    pub fn message(&mut self, topic: Topic, nanos: u64, json: &[u8]) -> io::Result<()> {
        let at = TOPICS.iter().position(|t| t.0 == topic).unwrap_or(0);
        let count = self.counts.get_mut(at).map_or(0, |c| {
            *c += 1;
            *c
        });
        let mut record = (at as u16 + 1).to_le_bytes().to_vec();
        record.extend((count as u32).to_le_bytes());
        record.extend(nanos.to_le_bytes());
        record.extend(nanos.to_le_bytes());
        record.extend(json);
        (self.first, self.last) = (self.first.min(nanos), self.last.max(nanos));
        self.record(0x05, &record)
    }

    /// Ends the file: summary, footer.
    pub fn finish(mut self) -> io::Result<W> {
        self.record(0x0f, &0u32.to_le_bytes())?;
        let summary = self.written;
        self.describe()?;
        let messages: u64 = self.counts.iter().sum();
        let mut statistics = messages.to_le_bytes().to_vec();
        let kinds = TOPICS.len();
        statistics.extend((kinds as u16).to_le_bytes());
        // Channels, attachments, metadata records, chunks.
        for n in [kinds as u32, 0, 0, 0] {
            statistics.extend(n.to_le_bytes());
        }
        let first = if messages == 0 { 0 } else { self.first };
        statistics.extend(first.to_le_bytes());
        statistics.extend(self.last.to_le_bytes());
        statistics.extend((kinds as u32 * 10).to_le_bytes());
        for (i, count) in self.counts.iter().enumerate() {
            statistics.extend((i as u16 + 1).to_le_bytes());
            statistics.extend(count.to_le_bytes());
        }
        self.record(0x0b, &statistics)?;
        let mut footer = summary.to_le_bytes().to_vec();
        footer.extend(0u64.to_le_bytes());
        footer.extend(0u32.to_le_bytes());
        self.record(0x02, &footer)?;
        self.raw(&MAGIC)?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_have_their_lengths_and_the_footer_finds_the_summary() {
        let mut mcap = Mcap::new(Vec::new()).unwrap();
        mcap.message(Topic::Ticks, 5_000_000_000, br#"{"t":5}"#).unwrap();
        mcap.message(Topic::Notes, 6_000_000_000, br#"{"t":6,"note":"x"}"#).unwrap();
        let bytes = mcap.finish().unwrap();
        assert!(bytes.starts_with(&MAGIC) && bytes.ends_with(&MAGIC));
        let mut at = MAGIC.len();
        let mut kinds = Vec::new();
        let mut places = Vec::new();
        let mut footer = 0;
        while at < bytes.len() - MAGIC.len() {
            let length = u64::from_le_bytes(bytes[at + 1..at + 9].try_into().unwrap()) as usize;
            kinds.push(bytes[at]);
            places.push(at as u64);
            if bytes[at] == 0x02 {
                footer = u64::from_le_bytes(bytes[at + 9..at + 17].try_into().unwrap());
            }
            at += 9 + length;
        }
        assert_eq!(at, bytes.len() - MAGIC.len());
        assert_eq!(kinds, [1, 3, 4, 3, 4, 3, 4, 5, 5, 15, 3, 4, 3, 4, 3, 4, 11, 2]);
        assert_eq!(footer, places[10]);
    }
}
