//! One body, compiled for several instruction sets and chosen at run time.

use std::sync::OnceLock;

/// The vector instructions that the kernels use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of this architecture has.
    Portable,
    /// AVX2 and fused multiply-add.
    Avx2,
    /// AVX-512 with bf16 dot products.
    Avx512Bf16,
}

impl Level {
    /// A short name for records.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable if cfg!(target_arch = "aarch64") => "neon",
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512Bf16 => "avx512bf16",
        }
    }
}

/// The best level of this processor, found once.
///
/// The environment variable `FORERUN_KERNELS` (`portable`, `avx2`) lowers it, to compare kernel sets.
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wanted = match std::env::var("FORERUN_KERNELS").as_deref() {
            Ok("portable") => Level::Portable,
            Ok("avx2") => Level::Avx2,
            _ => Level::Avx512Bf16,
        };
        detected().min(wanted)
    })
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Level {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        Level::Portable
    } else if is_x86_feature_detected!("avx512bf16")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
    {
        Level::Avx512Bf16
    } else {
        Level::Avx2
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Level {
    Level::Portable
}

/// `multiversion! { pub fn name(arg: Type, ...) -> Type = body; }` defines `name`, which runs `body::<true>` compiled
/// for AVX2 + FMA where the processor has them, and the portable `body::<FMA>` elsewhere.
///
/// `body` is an `#[inline(always)]` function with one `const FMA: bool`: whether a fused multiply-add is one instruction
/// (in software it would be a slow library call).
macro_rules! multiversion {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident;)*) => {$(
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                if $crate::kernels::level() >= $crate::kernels::Level::Avx2 {
                    // SAFETY: `level` has found AVX2 and FMA on this processor.
                    return unsafe { avx2($($arg),*) };
                }
            }
            $body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    )*};
}
