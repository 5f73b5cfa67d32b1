//! Speed of imagining with the shipped model, and of recording: `cargo bench --bench imagine`.

fn main() {
    match forerun::bench::record() {
        Ok(speed) => println!("record: {speed}"),
        Err(failure) => println!("record: {}", failure.text()),
    }
    match forerun::bench::imagine("tabletop", "cpu") {
        Ok(speed) => println!("imagine: {speed}"),
        Err(failure) => println!("imagine: {}", failure.text()),
    }
}
