//! Frames per second of the virtual world's camera: `cargo bench --bench camera [-- SIZE [THREADS]]`.

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let size = numbers.first().copied().unwrap_or(128);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = numbers.get(1).copied().unwrap_or(cores);
    match forerun::world::bench::camera(size, threads, 3.0) {
        Ok(s) => println!(
            "camera {0}x{0}: {1:.0} frames/s on {2} threads; physics with labels: {3:.0} steps/s on one",
            s.size, s.frames_per_second, s.threads, s.steps_per_second
        ),
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1);
        }
    }
}
