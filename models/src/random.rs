//! Random numbers as a pure function of their key: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy
//! as 1, 2, 3", <https://doi.org/10.1145/2063384.2063405>).
//!
//! A number depends on (seed, stream, step, element) and nothing else: not on the order of drawing, the number of
//! threads or the device. Normal numbers use only IEEE-exact operations (add, multiply, divide, square root), so they
//! are the same bits on every machine.

/// One Philox4x32-10 block: four random words for a counter and a key.
#[inline(always)]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for round in 0..10 {
        if round > 0 {
            k0 = k0.wrapping_add(0x9E37_79B9);
            k1 = k1.wrapping_add(0xBB67_AE85);
        }
        let p0 = u64::from(c0) * 0xD251_1F53;
        let p1 = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
    }
    [c0, c1, c2, c3]
}

#[inline(always)]
fn split(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// A stable number for a name (FNV-1a, 64 bits), to be used as a stream.
pub fn stream_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// An endless source of random numbers, addressed by element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random {
    key: [u32; 2],
    step: [u32; 2],
}

impl Random {
    /// The source for (seed, stream, step): for example a future's seed, what the numbers are for, and the frame.
    pub fn new(seed: u64, stream: u64, step: u64) -> Self {
        let ([s0, s1], [t0, t1]) = (split(seed), split(stream));
        // One block hashes seed and stream into the key, so that every stream is as good as another seed.
        let [k0, k1, _, _] = philox4x32([s0, s1, t0, t1], [0x464f_5245, 0x5255_4e31]);
        Self { key: [k0, k1], step: split(step) }
    }

    /// The same seed and stream at another step.
    pub fn at_step(self, step: u64) -> Self {
        Self { step: split(step), ..self }
    }

    /// The four words of block `block`.
    #[inline(always)]
    pub fn block(&self, block: u64) -> [u32; 4] {
        let ([b0, b1], [s0, s1]) = (split(block), self.step);
        philox4x32([b0, b1, s0, s1], self.key)
    }

    /// Word number `element`.
    pub fn word(&self, element: u64) -> u32 {
        let words = self.block(element / 4);
        match element % 4 {
            0 => words[0],
            1 => words[1],
            2 => words[2],
            _ => words[3],
        }
    }

    /// Element `element` as a uniform number in [0, 1), in steps of 2^-24.
    pub fn uniform(&self, element: u64) -> f32 {
        unit(self.word(element))
    }

    /// Element `element` as an integer in `0..n` (0 for `n` = 0), with a bias below `n / 2^32`.
    pub fn below(&self, element: u64, n: u32) -> u32 {
        ((u64::from(self.word(element)) * u64::from(n)) >> 32) as u32
    }

    /// Element `element` as a normal number (mean 0, variance 1; at most 6.8 in size).
    pub fn normal(&self, element: u64) -> f32 {
        let four = normals(self.block(element / 4));
        match element % 4 {
            0 => four[0],
            1 => four[1],
            2 => four[2],
            _ => four[3],
        }
    }

    /// Fills `out` with the uniform numbers of the elements `first, first + 1, ...`.
    pub fn fill_uniform(&self, first: u64, out: &mut [f32]) {
        self.fill(first, out, |words| words.map(unit));
    }

    /// Fills `out` with the normal numbers of the elements `first, first + 1, ...`.
    pub fn fill_normal(&self, first: u64, out: &mut [f32]) {
        // The bulk, from the first whole block on, is computed several blocks at a time.
        let head = ((4 - first % 4) % 4).min(out.len() as u64);
        let (start, rest) = out.split_at_mut(head as usize);
        self.fill(first, start, normals);
        let bulk = rest.len() / (4 * WIDE) * (4 * WIDE);
        let (bulk, tail) = rest.split_at_mut(bulk);
        let first = first.wrapping_add(head);
        normal_chunks(self, first / 4, bulk);
        self.fill(first.wrapping_add(bulk.len() as u64), tail, normals);
    }

    fn fill(&self, first: u64, out: &mut [f32], make: impl Fn([u32; 4]) -> [f32; 4]) {
        let skip = (first % 4) as usize;
        let (head, rest) = out.split_at_mut(if skip == 0 { 0 } else { (4 - skip).min(out.len()) });
        let mut block = first / 4;
        if !head.is_empty() {
            for (o, v) in head.iter_mut().zip(make(self.block(block)).into_iter().skip(skip)) {
                *o = v;
            }
            block = block.wrapping_add(1);
        }
        for chunk in rest.chunks_mut(4) {
            for (o, v) in chunk.iter_mut().zip(make(self.block(block))) {
                *o = v;
            }
            block = block.wrapping_add(1);
        }
    }
}

fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Box-Muller: words (0, 1) and (2, 3) give two normal numbers each.
fn normals(words: [u32; 4]) -> [f32; 4] {
    let [a, b] = box_muller(words[0], words[1]);
    let [c, d] = box_muller(words[2], words[3]);
    [a, b, c, d]
}

/// Two normal numbers; straight-line code, so that many of them are computed side by side.
#[inline(always)]
fn box_muller(radius: u32, angle: u32) -> [f32; 2] {
    // (0, 1): never 0, so the logarithm is finite.
    let u = (f64::from(radius) + 0.5) * (1.0 / 4_294_967_296.0);
    let r = (-2.0 * ln(u)).sqrt();
    let (sin, cos) = sin_cos_turn(angle);
    [(r * cos) as f32, (r * sin) as f32]
}

/// Natural logarithm of a positive normal number, within 2e-15 relative, from exact operations only.
#[inline(always)]
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    let high = m > std::f64::consts::SQRT_2;
    let m = if high { m * 0.5 } else { m };
    let exponent = f64::from(exponent + i32::from(high));
    // ln m = 2 atanh(s), |s| <= 0.1716
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut sum = 1.0 / 21.0;
    for c in [
        1.0 / 19.0,
        1.0 / 17.0,
        1.0 / 15.0,
        1.0 / 13.0,
        1.0 / 11.0,
        1.0 / 9.0,
        1.0 / 7.0,
        1.0 / 5.0,
        1.0 / 3.0,
        1.0,
    ] {
        sum = sum * z + c;
    }
    2.0 * s * sum + exponent * std::f64::consts::LN_2
}

/// Sine and cosine of `(word + 1/2) / 2^32` turns, from exact operations only.
#[inline(always)]
fn sin_cos_turn(word: u32) -> (f64, f64) {
    // The top two bits choose the quadrant; the rest, shifted to [-1/2, 1/2) quarter turns, the place inside it.
    let quadrant = word >> 30;
    let inside = (f64::from(word & 0x3fff_ffff) + 0.5) * (1.0 / 1_073_741_824.0) - 0.5;
    let x = inside * std::f64::consts::FRAC_PI_2;
    let z = x * x;
    // Taylor series; |x| <= pi / 4, so the first terms left out are below 1e-17.
    let mut s = 1.0 / 355_687_428_096_000.0;
    for c in [
        -1.0 / 1_307_674_368_000.0,
        1.0 / 6_227_020_800.0,
        -1.0 / 39_916_800.0,
        1.0 / 362_880.0,
        -1.0 / 5040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
        1.0,
    ] {
        s = s * z + c;
    }
    let mut c = 1.0 / 20_922_789_888_000.0;
    for k in [
        -1.0 / 87_178_291_200.0,
        1.0 / 479_001_600.0,
        -1.0 / 3_628_800.0,
        1.0 / 40_320.0,
        -1.0 / 720.0,
        1.0 / 24.0,
        -0.5,
        1.0,
    ] {
        c = c * z + k;
    }
    let s = s * x;
    // Turn by the quadrant's centre: (quadrant + 1/2) quarter turns.
    let h = std::f64::consts::FRAC_1_SQRT_2;
    let (s, c) = ((s + c) * h, (c - s) * h);
    let (s, c) = if quadrant & 1 == 1 { (c, -s) } else { (s, c) };
    if quadrant & 2 == 2 { (-s, -c) } else { (s, c) }
}

/// Blocks that [`normal_chunks`] computes side by side.
const WIDE: usize = 8;

/// Fills chunks of `4 * WIDE` normal numbers from block `block` on.
#[inline(always)]
fn normal_chunks_body<const FMA: bool>(random: &Random, block: u64, out: &mut [f32]) {
    for (i, chunk) in out.chunks_exact_mut(4 * WIDE).enumerate() {
        let mut words = [[0_u32; 4]; WIDE];
        for (j, words) in words.iter_mut().enumerate() {
            *words = random.block(block.wrapping_add((i * WIDE + j) as u64));
        }
        let (mut radius, mut angle) = ([0_u32; 2 * WIDE], [0_u32; 2 * WIDE]);
        for (j, words) in words.iter().enumerate() {
            (radius[2 * j], angle[2 * j]) = (words[0], words[1]);
            (radius[2 * j + 1], angle[2 * j + 1]) = (words[2], words[3]);
        }
        let (mut first, mut second) = ([0.0_f32; 2 * WIDE], [0.0_f32; 2 * WIDE]);
        for j in 0..2 * WIDE {
            [first[j], second[j]] = box_muller(radius[j], angle[j]);
        }
        for (j, pair) in chunk.chunks_exact_mut(2).enumerate() {
            (pair[0], pair[1]) = (first[j], second[j]);
        }
    }
}

multiversion! {
    fn normal_chunks(random: &Random, block: u64, out: &mut [f32]) = normal_chunks_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published known answers of Random123's `kat_vectors` for philox4x32 with 10 rounds.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn own_logarithm_and_sine_agree_with_the_library() {
        for i in 0..20_000_u32 {
            let word = i.wrapping_mul(0x9E37_79B9);
            let u = (f64::from(word) + 0.5) / 4_294_967_296.0;
            assert!((ln(u) - u.ln()).abs() <= 2e-15 * u.ln().abs().max(0.1), "ln {u}");
            let (s, c) = sin_cos_turn(word);
            let a = u * std::f64::consts::TAU;
            assert!((s - a.sin()).abs() < 1e-14 && (c - a.cos()).abs() < 1e-14, "turn {u}: {s} {c}");
        }
    }

    #[test]
    fn a_number_depends_on_its_key_alone() {
        let r = Random::new(7, stream_of("noise"), 3);
        let mut all = [0.0; 301];
        r.fill_normal(0, &mut all);
        for first in 0..9 {
            let mut part = [0.0; 150];
            r.fill_normal(first, &mut part);
            assert_eq!(part, all[first as usize..first as usize + 150]);
        }
        for (i, &x) in all.iter().enumerate() {
            assert_eq!(r.normal(i as u64), x);
        }
        let mut tiny = [0.0; 1];
        r.fill_uniform(5, &mut tiny);
        assert_eq!(tiny[0], r.uniform(5));
        assert_ne!(r.block(0), Random::new(8, stream_of("noise"), 3).block(0));
        assert_ne!(r.block(0), Random::new(7, stream_of("other"), 3).block(0));
        assert_ne!(r.block(0), r.at_step(4).block(0));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let n = 200_000;
        let mut x = vec![0.0; n];
        Random::new(1, 2, 3).fill_normal(0, &mut x);
        let moment = |p: i32| x.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / n as f64;
        assert!(moment(1).abs() < 0.01, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "{}", moment(2));
        assert!(moment(3).abs() < 0.04 && (moment(4) - 3.0).abs() < 0.1);
        let pairs = x.windows(2).map(|w| f64::from(w[0] * w[1])).sum::<f64>() / n as f64;
        assert!(pairs.abs() < 0.01, "{pairs}");
        Random::new(1, 2, 4).fill_uniform(0, &mut x);
        assert!(x.iter().all(|v| (0.0..1.0).contains(v)));
        assert!((moment_of(&x) - 0.5).abs() < 0.003);
    }

    fn moment_of(x: &[f32]) -> f64 {
        x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64
    }
}
