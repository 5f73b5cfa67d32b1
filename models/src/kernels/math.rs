//! Elementary functions that the compiler can turn into vector code.

/// `a * b + c`, fused where that is one instruction.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `e^x` within 2e-7 relative; overflows to infinity, underflows to zero through denormals, keeps NaN.
///
/// Range reduction by multiples of ln 2 in two parts, a Taylor polynomial of degree 7 on |r| <= ln 2 / 2 (its
/// remainder is 5e-9), and a scale by two powers of two, so that the whole range of f32 is reached.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    /// Adding this rounds a small float to an integer in its low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HI: f32 = 0.693_359_4;
    const LN2_LO: f32 = -2.121_944_4e-4;
    // Comparisons that are false for NaN let it through.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fma::<FMA>(n, -LN2_HI, x);
    let r = fma::<FMA>(n, -LN2_LO, r);
    let mut p = 1.0 / 5040.0;
    p = fma::<FMA>(p, r, 1.0 / 720.0);
    p = fma::<FMA>(p, r, 1.0 / 120.0);
    p = fma::<FMA>(p, r, 1.0 / 24.0);
    p = fma::<FMA>(p, r, 1.0 / 6.0);
    p = fma::<FMA>(p, r, 0.5);
    p = fma::<FMA>(p, r, 1.0);
    p = fma::<FMA>(p, r, 1.0);
    let i = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = i >> 1;
    p * power_of_two(half) * power_of_two(i.wrapping_sub(half))
}

/// `2^i` for -126 <= i <= 127.
#[inline(always)]
fn power_of_two(i: i32) -> f32 {
    f32::from_bits((i.wrapping_add(127) as u32) << 23)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// Sums run in this many lanes, so that the compiler may use vectors without changing the order of additions.
pub(crate) const LANES: usize = 16;

/// Adds the lanes pairwise, in a fixed order.
#[inline(always)]
pub(crate) fn fold_lanes(acc: [f32; LANES]) -> f32 {
    let mut a = acc;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            a[i] += a[i + width];
        }
        width /= 2;
    }
    a[0]
}

/// Sum of `a[i] * b[i]`, in lanes.
#[inline(always)]
pub(crate) fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, b) = (&a[..n], &b[..n]);
    let mut acc = [0.0; LANES];
    let (ca, cb) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (ra, rb) = (ca.remainder(), cb.remainder());
    for (x, y) in ca.zip(cb) {
        for i in 0..LANES {
            acc[i] = fma::<FMA>(x[i], y[i], acc[i]);
        }
    }
    for (i, (x, y)) in ra.iter().zip(rb).enumerate() {
        acc[i] = fma::<FMA>(*x, *y, acc[i]);
    }
    fold_lanes(acc)
}

/// `y += s * x`.
#[inline(always)]
pub(crate) fn add_scaled<const FMA: bool>(y: &mut [f32], s: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = fma::<FMA>(s, *x, *y);
    }
}

#[inline(always)]
fn exp_body<const FMA: bool>(x: &mut [f32]) {
    x.iter_mut().for_each(|v| *v = exp::<FMA>(*v));
}

#[inline(always)]
fn sigmoid_body<const FMA: bool>(x: &mut [f32]) {
    x.iter_mut().for_each(|v| *v = sigmoid::<FMA>(*v));
}

multiversion! {
    /// Replaces every number by its exponential.
    pub fn exp_in_place(x: &mut [f32]) = exp_body;
    /// Replaces every number by `1 / (1 + e^-x)`.
    pub fn sigmoid_in_place(x: &mut [f32]) = sigmoid_body;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_exp(f: impl Fn(&mut [f32])) {
        let xs: Vec<f32> = (-103_000..=88_700).map(|i| i as f32 * 1e-3 + 1.7e-4).collect();
        let mut ys = xs.clone();
        f(&mut ys);
        for (x, y) in xs.iter().zip(&ys) {
            let want = f64::from(*x).exp();
            let error = (f64::from(*y) - want).abs();
            // Below the normal numbers only the absolute spacing counts.
            assert!(error <= 2e-7 * want || error <= 1.5e-45, "exp({x}) = {y}, not {want}");
        }
        let mut edge = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 89.0, 1e30, -1e30, 0.0, -0.0];
        f(&mut edge);
        assert!(edge[0].is_nan());
        assert_eq!(edge[1..], [f32::INFINITY, 0.0, f32::INFINITY, f32::INFINITY, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn exp_is_exact_to_two_units_everywhere() {
        check_exp(exp_in_place);
        check_exp(exp_body::<false>);
    }

    #[test]
    fn sigmoid_is_exact_and_bounded() {
        let xs: Vec<f32> = (-80_000..80_000).map(|i| i as f32 * 1e-3).collect();
        let mut ys = xs.clone();
        sigmoid_in_place(&mut ys);
        for (x, y) in xs.iter().zip(&ys) {
            let want = 1.0 / (1.0 + (-f64::from(*x)).exp());
            assert!((f64::from(*y) - want).abs() <= 2.5e-7 * want, "sigmoid({x}) = {y}, not {want}");
        }
        let mut edge = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -200.0];
        sigmoid_in_place(&mut edge);
        assert!(edge[0].is_nan());
        assert_eq!(edge[1..], [1.0, 0.0, 0.0]);
    }
}
