//! `.pt` files: the tensors in them are read, everything else is refused by its name, and nothing is run.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use forerun_models::checkpoint::Checkpoint;
use forerun_models::testing::published::Tiny;

use crate::support::{TRANSFORMER, folder, frames, made, open, settings};

/// A ZIP archive of stored entries.
fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let (offset, size) = (out.len() as u32, data.len() as u32);
        let field = |out: &mut Vec<u8>, numbers: &[u16]| {
            numbers.iter().for_each(|n| out.extend(n.to_le_bytes()));
        };
        out.extend(b"PK\x03\x04");
        field(&mut out, &[20, 0, 0, 0, 0, 0, 0]);
        [size, size].iter().for_each(|n| out.extend(n.to_le_bytes()));
        field(&mut out, &[name.len() as u16, 0]);
        out.extend(name.as_bytes());
        out.extend(data);
        list.extend(b"PK\x01\x02");
        field(&mut list, &[20, 20, 0, 0, 0, 0, 0, 0]);
        [size, size].iter().for_each(|n| list.extend(n.to_le_bytes()));
        field(&mut list, &[name.len() as u16, 0, 0, 0, 0, 0, 0]);
        list.extend(offset.to_le_bytes());
        list.extend(name.as_bytes());
    }
    let (start, size, count) = (out.len() as u32, list.len() as u32, entries.len() as u16);
    out.extend(&list);
    out.extend(b"PK\x05\x06\0\0\0\0");
    [count, count].iter().for_each(|n| out.extend(n.to_le_bytes()));
    [size, start].iter().for_each(|n| out.extend(n.to_le_bytes()));
    out.extend([0, 0]);
    out
}

/// A text as a pickle has it.
fn text(out: &mut Vec<u8>, value: &str) {
    out.push(b'X');
    out.extend((value.len() as u32).to_le_bytes());
    out.extend(value.as_bytes());
}

fn number(out: &mut Vec<u8>, value: usize) {
    out.push(b'J');
    out.extend((value as i32).to_le_bytes());
}

fn tuple(out: &mut Vec<u8>, values: &[usize]) {
    out.push(b'(');
    values.iter().for_each(|v| number(out, *v));
    out.push(b't');
}

/// Tensors as PyTorch writes them: an ordered dictionary of rebuilt tensors, each in a storage of its own.
fn pickle(tensors: &[(String, Tensor)]) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let mut out = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01(".to_vec();
    let mut data = Vec::new();
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(b"ctorch\nFloatStorage\n");
        text(&mut out, &i.to_string());
        text(&mut out, "cpu");
        number(&mut out, tensor.elem_count());
        out.extend(b"tQ");
        number(&mut out, 0);
        let strides: Vec<usize> = tensor.stride().to_vec();
        tuple(&mut out, tensor.dims());
        tuple(&mut out, &strides);
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        data.push((format!("archive/data/{i}"), values.iter().flat_map(|v| v.to_le_bytes()).collect()));
    }
    out.extend(b"u}b.");
    (out, data)
}

fn write_pt(path: &Path, tensors: &[(String, Tensor)]) {
    let (list, mut entries) = pickle(tensors);
    entries.insert(0, ("archive/data.pkl".to_owned(), list));
    entries.push(("archive/byteorder".to_owned(), b"little".to_vec()));
    std::fs::write(path, zip(&entries)).unwrap();
}

/// A name as NVIDIA's own files have it.
fn nvidia(name: &str) -> String {
    let pairs = [
        ("transformer_blocks.", "blocks."),
        ("norm1.linear_", "adaln_modulation_self_attn."),
        ("norm2.linear_", "adaln_modulation_cross_attn."),
        ("norm3.linear_", "adaln_modulation_mlp."),
        ("attn1.", "self_attn."),
        ("attn2.", "cross_attn."),
        ("to_q.", "q_proj."),
        ("to_k.", "k_proj."),
        ("to_v.", "v_proj."),
        ("to_out.0.", "output_proj."),
        ("norm_q.", "q_norm."),
        ("norm_k.", "k_norm."),
        ("ff.net.0.proj.", "mlp.layer1."),
        ("ff.net.2.", "mlp.layer2."),
        ("time_embed.t_embedder.", "t_embedder.1."),
        ("time_embed.norm.", "t_embedding_norm."),
        ("patch_embed.proj.", "x_embedder.proj.1."),
        ("norm_out.linear_", "final_layer.adaln_modulation."),
        ("proj_out.", "final_layer.linear."),
    ];
    let name = pairs.iter().fold(name.to_owned(), |name, (from, to)| name.replacen(from, to, 1));
    format!("net.{name}")
}

#[test]
fn nvidias_own_file_runs_like_the_converted_one() {
    let dir = folder(Tiny::Predict2);
    let before = made(dir.path(), &frames(1), 4, &settings());
    let file = dir.path().join(TRANSFORMER);
    let tensors = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let mut named: Vec<(String, Tensor)> = tensors.into_iter().map(|(n, t)| (nvidia(&n), t)).collect();
    let spare = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    named.push(("net.accum_iteration".to_owned(), spare.clone()));
    named.push(("net.pos_embedder.seq".to_owned(), spare));
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_file(dir.path().join("transformer/config.json")).unwrap();
    write_pt(&dir.path().join("transformer/model.pt"), &named);
    assert!(made(dir.path(), &frames(1), 4, &settings()) == before);
    // And what is wrong in it is named too.
    named.retain(|(name, _)| !name.contains("blocks.1.cross_attn.k_proj"));
    write_pt(&dir.path().join("transformer/model.pt"), &named);
    let error = open(dir.path()).and_then(|m| crate::support::run(&m, &frames(1), 4, 1, &settings()));
    let text = error.err().unwrap().to_string();
    assert!(text.contains("transformer_blocks.1.attn2.to_k.weight") && text.contains("model.pt"), "{text}");
}

#[test]
fn views_of_a_storage_are_collected() {
    let dir = tempfile::tempdir().unwrap();
    let values = Tensor::arange(0f32, 6.0, &Device::Cpu).unwrap().reshape((2, 3)).unwrap();
    let (mut list, mut entries) = pickle(&[("a.weight".to_owned(), values)]);
    // The transposed view: shape (3, 2), strides (1, 3).
    let shape = [2usize, 3, 3, 1].map(|n| [b"J".as_slice(), &(n as i32).to_le_bytes()].concat()).concat();
    let turned = [3usize, 2, 1, 3].map(|n| [b"J".as_slice(), &(n as i32).to_le_bytes()].concat());
    let at = |list: &[u8], part: &[u8]| list.windows(part.len()).position(|w| w == part).unwrap();
    let first = [b"(".as_slice(), &shape[..10], b"t(", &shape[10..], b"t"].concat();
    let second = [b"(".as_slice(), &turned[..2].concat(), b"t(", &turned[2..].concat(), b"t"].concat();
    let place = at(&list, &first);
    list.splice(place..place + first.len(), second);
    entries.insert(0, ("archive/data.pkl".to_owned(), list));
    std::fs::write(dir.path().join("a.pt"), zip(&entries)).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let tensor = checkpoint.builder(DType::F32, &Device::Cpu).get((3, 2), "a.weight").unwrap();
    assert_eq!(tensor.to_vec2::<f32>().unwrap(), [[0., 3.], [1., 4.], [2., 5.]]);
}

/// What is said about a file with this list of tensors.
fn refused(list: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let entries =
        [("archive/data.pkl".to_owned(), list.to_vec()), ("archive/data/0".to_owned(), vec![0; 64])];
    std::fs::write(dir.path().join("model.pt"), zip(&entries)).unwrap();
    let error = Checkpoint::open(dir.path()).err().expect("it must be refused").to_string();
    assert!(error.contains("model.pt"), "{error}");
    error
}

#[test]
fn hostile_files_are_refused_by_the_name_of_what_they_ask_for() {
    let dir = tempfile::tempdir().unwrap();
    let witness = dir.path().join("it-ran");
    let shell = format!("touch {}", witness.display());
    // os.system("touch …"), as the classic attack has it.
    let mut attack = b"\x80\x02cos\nsystem\n".to_vec();
    text(&mut attack, &shell);
    attack.extend(b"\x85R.");
    assert!(refused(&attack).contains("`os.system`"));
    // The same by the newer opcode.
    let mut newer = b"\x80\x04".to_vec();
    text(&mut newer, "builtins");
    text(&mut newer, "eval");
    newer.extend(b"\x93");
    text(&mut newer, "__import__('os')");
    newer.extend(b"\x85R.");
    assert!(refused(&newer).contains("`builtins.eval`"));
    assert!(!witness.exists(), "it was run");
    for (list, word) in [
        (b"\x80\x02(S'touch x'\nios\nsystem\n.".as_slice(), "STRING"),
        (b"\x80\x02(ios\nsystem\n.", "INST"),
        (b"\x80\x02)\x81.", "NEWOBJ"),
        (b"\x80\x02(o.", "OBJ"),
        (b"\x80\x02\x82\x01.", "EXT"),
        (b"\x80\x02Ptorch\n.", "PERSID"),
        (b"\x80\x02ctorch\nload\n.", "`torch.load`"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", "arguments"),
        (b"\x80\x02}.", "no tensor"),
        (b"\x80\x02", "damaged"),
        (b"\x80\x02h\x09.", "damaged"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged"),
        (b"\x80\x02]q\x00]q\x01h\x00a0h\x00h\x01a.", "already part of another"),
    ] {
        let text = refused(list);
        assert!(text.contains(word), "{word}: {text}");
    }
    // A tower of tuples and one of lists would overflow the stack of whoever walks down.
    assert!(refused(&[b"\x80\x02)".as_slice(), &[0x85; 5000], b"."].concat()).contains("nested"));
    // A tensor that claims more than there is.
    let mut large = b"\x80\x02}(".to_vec();
    text(&mut large, "a");
    large.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    text(&mut large, "storage");
    large.extend(b"ctorch\nFloatStorage\n");
    text(&mut large, "0");
    text(&mut large, "cpu");
    number(&mut large, 16);
    large.extend(b"tQ");
    number(&mut large, 0);
    tuple(&mut large, &[2_000_000_000, 2_000_000_000]);
    tuple(&mut large, &[0, 0]);
    large.extend(b"\x89NtRu.");
    assert!(refused(&large).contains("`a`"));
}

#[test]
fn files_that_are_no_archives_or_were_cut_off_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.pt");
    let tensor = Tensor::zeros((4, 4), DType::F32, &Device::Cpu).unwrap();
    write_pt(&path, &[("a.weight".to_owned(), tensor)]);
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 3, 30, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let text = Checkpoint::open(dir.path()).err().expect("it must be refused").to_string();
        assert!(text.contains("model.pt"), "{length}: {text}");
    }
    std::fs::write(&path, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.").unwrap();
    assert!(Checkpoint::open(dir.path()).err().unwrap().to_string().contains("PyTorch 1.6"));
}
