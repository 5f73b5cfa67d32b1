//! Writing, reading and verifying a bundle file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use ed25519_dalek::{Signer, Verifier};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manifest::{MANIFEST_FORMAT, Manifest, Member};
use super::{BundleError, hex, io, tar, unhex};

/// Largest bundle: a file this large is a mistake.
const LARGEST: u64 = 64 << 30;
/// Largest manifest and signature.
const LARGEST_TEXT: u64 = 16 << 20;
/// Kinds of files that a bundle may hold: weights and plain descriptions, nothing that runs when it is opened.
const KINDS: [&str; 5] = ["safetensors", "onnx", "json", "toml", "txt"];

/// A secret key to sign bundles with.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Reads a key file, or makes a new key where there is none (readable by its owner only).
    pub fn open_or_create(path: &Path) -> Result<Self, BundleError> {
        if let Ok(text) = std::fs::read_to_string(path) {
            let bytes: Option<[u8; 32]> = unhex(text.trim()).and_then(|b| b.try_into().ok());
            let bytes =
                bytes.ok_or_else(|| BundleError::Key(format!("{} is no key file", path.display())))?;
            return Ok(Self(ed25519_dalek::SigningKey::from_bytes(&bytes)));
        }
        let mut secret = [0u8; 32];
        let random = Path::new("/dev/urandom");
        File::open(random).and_then(|mut f| f.read_exact(&mut secret)).map_err(io(random))?;
        super::super::write_whole(path, format!("{}\n", hex(&secret)).as_bytes()).map_err(io(path))?;
        // A temporary file is created with mode 0600 and keeps it through the rename.
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(&secret)))
    }

    /// The public key, to be trusted elsewhere.
    pub fn public(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }
}

#[derive(Serialize, Deserialize)]
struct Signature {
    key: String,
    ed25519: String,
}

/// A bundle that was read whole and verified.
#[derive(Debug)]
pub struct Bundle {
    /// What it says of itself.
    pub manifest: Manifest,
    /// sha256 of the manifest: names the bundle, since the manifest holds the hashes of everything else.
    pub id: String,
    /// Public key of who signed it.
    pub key: String,
}

/// Writes a bundle: `files` are (path inside, data). The manifest's `format` and `members` are filled in.
pub fn write(
    path: &Path,
    mut manifest: Manifest,
    files: &BTreeMap<String, Vec<u8>>,
    key: &SigningKey,
) -> Result<Bundle, BundleError> {
    manifest.format = MANIFEST_FORMAT;
    manifest.members = files
        .iter()
        .map(|(path, data)| Member {
            path: path.clone(),
            bytes: data.len() as u64,
            sha256: hex(&Sha256::digest(data)),
        })
        .collect();
    check_members(&manifest)?;
    let text = serde_json::to_vec_pretty(&manifest).map_err(|e| BundleError::Damaged(e.to_string()))?;
    let signature = Signature { key: key.public(), ed25519: hex(&key.0.sign(&text).to_bytes()) };
    let signature = serde_json::to_vec_pretty(&signature).map_err(|e| BundleError::Damaged(e.to_string()))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).map_err(io(path))?;
    let mut out = BufWriter::new(file);
    let mut all = || -> std::io::Result<()> {
        tar::append(&mut out, "manifest.json", &text)?;
        tar::append(&mut out, "signature.json", &signature)?;
        for (path, data) in files {
            tar::append(&mut out, path, data)?;
        }
        tar::finish(&mut out)?;
        out.flush()
    };
    all().map_err(io(path))?;
    let file = out.into_inner().map_err(|e| io(path)(e.into_error()))?;
    file.as_file().sync_all().map_err(io(path))?;
    file.persist(path).map_err(|e| io(path)(e.error))?;
    super::super::sync_folder(folder).map_err(io(path))?;
    Ok(Bundle { id: hex(&Sha256::digest(&text)), manifest, key: key.public() })
}

fn check_members(manifest: &Manifest) -> Result<(), BundleError> {
    let mut total = 0u64;
    for (i, m) in manifest.members.iter().enumerate() {
        let kind = m.path.rsplit('.').next().unwrap_or_default();
        if !tar::is_plain(&m.path)
            || !KINDS.contains(&kind)
            || m.path == "manifest.json"
            || m.path == "signature.json"
        {
            let why = format!(
                "{:?} may not be in a bundle; weights are .safetensors or .onnx, never pickles",
                m.path
            );
            return Err(BundleError::Damaged(why));
        }
        if manifest.members.iter().take(i).any(|o| o.path == m.path) {
            return Err(BundleError::Damaged(format!("{} is in it twice", m.path)));
        }
        total = total.saturating_add(m.bytes);
    }
    if total > LARGEST {
        return Err(BundleError::Damaged(format!("its files have {total} bytes")));
    }
    Ok(())
}

/// Reads and verifies a bundle: signature first, then every file against its hash. Files are handed to `each` as they
/// are read, in pieces; what `each` has written before an error must be thrown away.
/// `trusted` are public keys; an empty list trusts nobody.
pub fn read(
    path: &Path,
    trusted: &[String],
    mut each: impl FnMut(&str, &[u8]) -> Result<(), BundleError>,
) -> Result<Bundle, BundleError> {
    let file = File::open(path).map_err(io(path))?;
    let mut from = BufReader::with_capacity(1 << 18, file);
    let damaged = BundleError::Damaged;
    let manifest_bytes = text(&mut from, "manifest.json")?;
    let signature_bytes = text(&mut from, "signature.json")?;
    let signature: Signature = serde_json::from_slice(&signature_bytes)
        .map_err(|e| damaged(format!("its signature cannot be read: {e}")))?;
    verify(&manifest_bytes, &signature)?;
    if !trusted.contains(&signature.key) {
        return Err(BundleError::Stranger(signature.key));
    }
    let manifest = Manifest::parse(&manifest_bytes)?;
    check_members(&manifest)?;
    each("manifest.json", &manifest_bytes)?;
    each("signature.json", &signature_bytes)?;
    for member in &manifest.members {
        let header = tar::next(&mut from).map_err(damaged)?;
        if header != Some((member.path.clone(), member.bytes)) {
            return Err(BundleError::Damaged(format!("{} is missing or has another size", member.path)));
        }
        let mut hash = Sha256::new();
        let mut left = member.bytes;
        let mut buffer = vec![0u8; 1 << 18];
        each(&member.path, &[])?;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..want).unwrap_or_default();
            from.read_exact(piece).map_err(|_| BundleError::Damaged("it ends too early".into()))?;
            hash.update(&*piece);
            each(&member.path, piece)?;
            left -= want as u64;
        }
        if hex(&hash.finalize()) != member.sha256 {
            return Err(BundleError::Damaged(format!("{} is not what was packed", member.path)));
        }
        tar::skip_padding(&mut from, member.bytes).map_err(damaged)?;
    }
    if tar::next(&mut from).map_err(damaged)?.is_some() {
        return Err(BundleError::Damaged("it holds more than its manifest says".into()));
    }
    Ok(Bundle { id: hex(&Sha256::digest(&manifest_bytes)), manifest, key: signature.key })
}

fn text(from: &mut impl Read, name: &str) -> Result<Vec<u8>, BundleError> {
    let (path, size) = tar::next(from)
        .map_err(BundleError::Damaged)?
        .ok_or_else(|| BundleError::Damaged(format!("it has no {name}")))?;
    if path != name || size > LARGEST_TEXT {
        return Err(BundleError::Damaged(format!("it has no {name}")));
    }
    let mut bytes = vec![0u8; usize::try_from(size).unwrap_or(0)];
    from.read_exact(&mut bytes).map_err(|_| BundleError::Damaged("it ends too early".into()))?;
    tar::skip_padding(from, size).map_err(BundleError::Damaged)?;
    Ok(bytes)
}

fn verify(manifest: &[u8], signature: &Signature) -> Result<(), BundleError> {
    let key: [u8; 32] =
        unhex(&signature.key).and_then(|b| b.try_into().ok()).ok_or(BundleError::Signature)?;
    let sig: [u8; 64] =
        unhex(&signature.ed25519).and_then(|b| b.try_into().ok()).ok_or(BundleError::Signature)?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| BundleError::Signature)?;
    key.verify(manifest, &ed25519_dalek::Signature::from_bytes(&sig)).map_err(|_| BundleError::Signature)
}
