//! How close is close enough: 5 to 6 times the rounding of the f32 references against f64, and well below what an
//! ordinary mistake costs (a wrong epsilon, a wrong GELU, an ignored frame rate).

/// Limits of one output.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Largest root mean square of the difference over that of the reference.
    pub rms_rel: f64,
    /// Largest difference.
    pub max: Max,
}

/// How the largest difference is measured.
#[derive(Clone, Copy, Debug)]
pub enum Max {
    /// Over the reference's largest magnitude.
    Relative(f64),
    /// As it is.
    Absolute(f64),
    /// Per element, relative to that element.
    EachRelative(f64),
    /// In levels of 8 bits, and the share of bytes that may differ at all.
    Levels(f64, f64),
    /// No difference at all.
    Exact,
}

const fn relative(rms_rel: f64, max: f64) -> Bar {
    Bar { rms_rel, max: Max::Relative(max) }
}

/// Transformers, control networks, action embeddings, audio, policy frames.
pub const NETWORK: Bar = relative(3e-6, 1e-5);
/// Text encoders.
pub const TEXT: Bar = relative(5e-6, 2e-5);
/// Scores of next tokens; the highest one must be the same at every place.
pub const LOGITS: Bar = relative(1e-5, 3e-5);
/// Autoencoders (their decoders end in a clamp).
pub const AUTOENCODER: Bar = relative(1e-5, 1e-4);
/// Noise levels and real timesteps.
pub const SIGMA: Bar = Bar { rms_rel: 1e-6, max: Max::EachRelative(1e-6) };
/// Samples of a solver fed with made-up predictions.
pub const SOLVER: Bar = relative(5e-6, 1e-5);
/// Token ids, integer timesteps.
pub const EXACT: Bar = Bar { rms_rel: 0.0, max: Max::Exact };
/// Noise in a pipeline: network outputs and latents after every step, so that a difference is found at its step.
pub const STEP: Bar = relative(2e-5, 5e-5);
/// Latents of given frames.
pub const ENCODED: Bar = relative(2e-5, 1e-4);
/// The same where decoded frames are encoded again.
pub const ENCODED_AGAIN: Bar = relative(2e-4, 5e-4);
/// Frames in -1..1.
pub const DECODED: Bar = Bar { rms_rel: 1e-4, max: Max::Absolute(1e-3) };
/// The same where decoded frames were encoded again.
pub const DECODED_AGAIN: Bar = Bar { rms_rel: 5e-4, max: Max::Absolute(5e-3) };
/// Finished pictures.
pub const BYTES: Bar = Bar { rms_rel: 1.0, max: Max::Levels(1.0, 0.005) };
/// Pictures on their way into the encoder.
pub const PICTURE: Bar = relative(1e-6, 1e-6);
/// Pictures that were resized before they went into the encoder: one level of 8 bits, in few pixels.
pub const RESIZED: Bar = Bar { rms_rel: 1.0, max: Max::Levels(1.01 / 127.5, 0.005) };
