//! The families of published models and what each is by default.

use super::settings::{ClipSettings, MemoryMode, Numbers};
use crate::cosmos::Reference;

/// A published family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Text to clip, and text with the first frames to clip (EDM, CV8x8x8).
    Predict1,
    /// Text to picture, frames to clip, and frames with arm actions to frames.
    Predict2,
    /// Text, text with a picture and text with a clip to clip, and frames with arm actions to frames.
    Predict25,
    /// A control clip to frames (EDM, CV8x8x8).
    Transfer1,
    /// A control clip to frames.
    Transfer25,
    /// Text, pictures, clips, and the actions of many robot bodies.
    Cosmos3,
    /// The pictures of a robot's cameras to its actions, what they will show then, and how likely it succeeds.
    Policy,
}

/// Terms of the published weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Licence {
    /// NVIDIA Open Model License.
    NvidiaOpenModel,
    /// OpenMDW 1.1.
    OpenMdw,
}

impl Licence {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NvidiaOpenModel => "NVIDIA Open Model License",
            Self::OpenMdw => "OpenMDW-1.1",
        }
    }

    /// Whether the right to use the weights ends when a guardrail is bypassed.
    pub fn has_guardrail_clause(self) -> bool {
        self == Self::NvidiaOpenModel
    }
}

impl Family {
    /// All families.
    pub const ALL: [Self; 7] = [
        Self::Predict1,
        Self::Predict2,
        Self::Predict25,
        Self::Transfer1,
        Self::Transfer25,
        Self::Cosmos3,
        Self::Policy,
    ];

    /// The family of a pipeline by the class that `model_index.json` names.
    pub fn of_class(class: &str) -> Option<Self> {
        match class {
            "CosmosTextToWorldPipeline" | "CosmosVideoToWorldPipeline" => Some(Self::Predict1),
            "Cosmos2TextToImagePipeline" | "Cosmos2VideoToWorldPipeline" => Some(Self::Predict2),
            "Cosmos2_5_PredictBasePipeline" => Some(Self::Predict25),
            // Ours: the publisher of Transfer1 has no class.
            "CosmosTransfer1Pipeline" => Some(Self::Transfer1),
            "Cosmos2_5_TransferPipeline" => Some(Self::Transfer25),
            "Cosmos3OmniPipeline" => Some(Self::Cosmos3),
            super::policy::CLASS => Some(Self::Policy),
            _ => None,
        }
    }

    /// Its name in contracts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Predict1 => "cosmos-predict1",
            Self::Predict2 => "cosmos-predict2",
            Self::Predict25 => "cosmos-predict2.5",
            Self::Transfer1 => "cosmos-transfer1",
            Self::Transfer25 => "cosmos-transfer2.5",
            Self::Cosmos3 => "cosmos3",
            Self::Policy => "cosmos-policy",
        }
    }

    /// The family of a contract.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// Whether it makes each frame from one of a control clip.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Transfer1 | Self::Transfer25)
    }

    /// Terms of its published weights.
    pub fn licence(self) -> Licence {
        match self {
            Self::Cosmos3 => Licence::OpenMdw,
            _ => Licence::NvidiaOpenModel,
        }
    }

    /// The publisher's choices. Networks that take arm actions (`actions`) have their own.
    pub fn defaults(self, actions: bool, picture: bool) -> ClipSettings {
        let (width, height, rate_hz, chunk, denoise, guidance) = match self {
            Self::Predict2 | Self::Predict25 if actions => (640, 480, 5.0, 13, 35, 0.0),
            Self::Predict1 => (1280, 704, 30.0, 121, 36, 7.0),
            Self::Predict2 if picture => (1360, 768, 16.0, 1, 35, 7.0),
            Self::Predict2 => (1280, 704, 16.0, 93, 35, 7.0),
            Self::Predict25 => (1280, 704, 16.0, 93, 36, 7.0),
            Self::Transfer1 => (1280, 704, 24.0, 121, 35, 5.0),
            Self::Transfer25 => (1280, 704, 16.0, 93, 36, 3.0),
            Self::Cosmos3 => (1280, 720, 24.0, 189, 35, 6.0),
            Self::Policy => (224, 224, 16.0, 1, 5, 0.0),
        };
        ClipSettings {
            width: Some(width),
            height: Some(height),
            rate_hz: Some(rate_hz),
            chunk: Some(chunk),
            denoise: Some(denoise),
            guidance: Some(guidance),
            negative: Some(String::new()),
            body: None,
            view: None,
            state: None,
            inverse: None,
            reference: Some(match self {
                // The diffusers library has no such pipelines.
                Self::Policy | Self::Transfer1 => Reference::Nvidia,
                _ => Reference::Diffusers,
            }),
            control_scale: self.is_control().then_some(1.0),
            adapters: Vec::new(),
            memory: MemoryMode {
                numbers: Some(Numbers::F32),
                offload: Some(false),
                tile: Some(0),
                linear: Some(crate::common::Storage::Plain),
            },
        }
    }
}
