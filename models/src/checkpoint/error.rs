//! What can be wrong with a model folder, in words that tell what to do.

use std::path::PathBuf;

/// A checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file or folder could not be read.
    #[error("{path}: {source}. Check that the folder is complete and that you may read it.", path = path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No weights where weights should be.
    #[error("{path}: no .safetensors or .pt file found here. Point to the folder that holds the weights.", path = path.display())]
    NoWeights {
        /// The folder that was searched.
        path: PathBuf,
    },
    /// A weight file that is cut off, damaged, or no safetensors file.
    #[error("{path}: not a whole safetensors file ({reason}). Download this file again.", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A `.pt` file that asks for something that is no tensor, or is damaged.
    #[error("{path}: this .pt file is not used: {reason}. Get the file from its publisher again, or ask for safetensors.", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// An adapter that does not belong to the network.
    #[error("{path}: {reason}. Choose the adapter that was made for this model.", path = path.display())]
    Adapter {
        /// The adapter's file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A JSON file that is not what it should be.
    #[error("{path}: {reason}. Take this file again from where the model came from.", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The index names a file that does not hold the tensor.
    #[error("{path}: tensor `{name}` should be in this file by the index, but is not. Download this file again.", path = path.display())]
    NotInShard {
        /// The shard.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// One name in two files.
    #[error("tensor `{name}` is in {first} and in {second}. Remove the file that does not belong to the model.", first = first.display(), second = second.display())]
    Twice {
        /// The tensor.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Tensors that the network has no place for.
    #[error("{path}: tensor {names} is not part of this network ({count} such in all). The weights and config.json belong to different models.", path = path.display())]
    Extra {
        /// The file of the first of them.
        path: PathBuf,
        /// The first names.
        names: String,
        /// How many there are.
        count: usize,
    },
}
