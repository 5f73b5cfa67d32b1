//! The names that NVIDIA's own files give to tensors, as the names that the diffusers library gives them.
//!
//! The pairs follow the library's converter for Cosmos checkpoints (`scripts/convert_cosmos_to_diffusers.py`) and, for
//! the Wan autoencoder, its converter for Wan.

/// Parts of a name in Predict1's transformer and what they become.
const PREDICT1: [(&str, &str); 23] = [
    ("t_embedder.1", "time_embed.t_embedder"),
    ("affline_norm", "time_embed.norm"),
    (".blocks.0.block.attn", ".attn1"),
    (".blocks.1.block.attn", ".attn2"),
    (".blocks.2.block", ".ff"),
    (".blocks.0.adaLN_modulation", ".norm1"),
    (".blocks.1.adaLN_modulation", ".norm2"),
    (".blocks.2.adaLN_modulation", ".norm3"),
    ("final_layer.adaLN_modulation", "norm_out"),
    ("to_q.0", "to_q"),
    ("to_q.1", "norm_q"),
    ("to_k.0", "to_k"),
    ("to_k.1", "norm_k"),
    ("to_v.0", "to_v"),
    ("ff.layer1", "ff.net.0.proj"),
    ("ff.layer2", "ff.net.2"),
    ("x_embedder.proj.1", "patch_embed.proj"),
    ("extra_pos_embedder", "learnable_pos_embed"),
    ("final_layer.linear", "proj_out"),
    ("norm1.1", "norm1.linear_1"),
    ("norm2.1", "norm2.linear_1"),
    ("norm3.1", "norm3.linear_1"),
    ("norm_out.1", "norm_out.linear_1"),
];

/// The second halves of the adaLN pairs, which must not be touched before the first ones.
const PREDICT1_SECOND: [(&str, &str); 4] = [
    ("norm1.2", "norm1.linear_2"),
    ("norm2.2", "norm2.linear_2"),
    ("norm3.2", "norm3.linear_2"),
    ("norm_out.2", "norm_out.linear_2"),
];

/// The same for Predict2 and everything after it.
const PREDICT2: [(&str, &str); 22] = [
    ("t_embedder.1", "time_embed.t_embedder"),
    ("t_embedding_norm", "time_embed.norm"),
    ("adaln_modulation_self_attn.1", "norm1.linear_1"),
    ("adaln_modulation_self_attn.2", "norm1.linear_2"),
    ("adaln_modulation_cross_attn.1", "norm2.linear_1"),
    ("adaln_modulation_cross_attn.2", "norm2.linear_2"),
    ("adaln_modulation_mlp.1", "norm3.linear_1"),
    ("adaln_modulation_mlp.2", "norm3.linear_2"),
    ("self_attn", "attn1"),
    ("cross_attn", "attn2"),
    ("q_proj", "to_q"),
    ("k_proj", "to_k"),
    ("v_proj", "to_v"),
    ("output_proj", "to_out.0"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
    ("mlp.layer1", "ff.net.0.proj"),
    ("mlp.layer2", "ff.net.2"),
    ("x_embedder.proj.1", "patch_embed.proj"),
    ("final_layer.adaln_modulation.1", "norm_out.linear_1"),
    ("final_layer.adaln_modulation.2", "norm_out.linear_2"),
    ("final_layer.linear", "proj_out"),
];

/// The name of a transformer's tensor; `None` for counters and tables that no network needs. A name of the diffusers library stays.
pub fn transformer(name: &str) -> Option<String> {
    let plain = name.strip_prefix("net.").unwrap_or(name);
    // `extra_pos_embedder.` is a table of weights, `pos_embedder.` is computed.
    let computed = ["accum_", "_extra_state", "logvar."].iter().any(|part| plain.contains(part));
    if computed || plain.starts_with("pos_embedder.") {
        return None;
    }
    // The control branch of Transfer1 has patches of its own for the control clip.
    if let Some(rest) = plain.strip_prefix("x_embedder2.proj.1") {
        return Some(format!("hint_embed.proj{rest}"));
    }
    if let Some(rest) = plain.strip_prefix("blocks.block") {
        let (number, rest) = rest.split_once('.')?;
        return Some(replaced(
            &format!("transformer_blocks.{number}.{rest}"),
            &[&PREDICT1, &PREDICT1_SECOND],
        ));
    }
    let second = plain.contains("adaLN_modulation") || plain.starts_with("affline_norm");
    if second || plain.starts_with("extra_pos_embedder") {
        return Some(replaced(plain, &[&PREDICT1, &PREDICT1_SECOND]));
    }
    let named = match plain.strip_prefix("blocks.") {
        Some(rest) => format!("transformer_blocks.{rest}"),
        None => plain.to_owned(),
    };
    Some(replaced(&named, &[&PREDICT2]))
}

fn replaced(name: &str, tables: &[&[(&str, &str)]]) -> String {
    tables
        .iter()
        .flat_map(|table| table.iter())
        .fold(name.to_owned(), |name, (from, to)| name.replacen(from, to, 1))
}

/// The name of a Cosmos 3 tensor, whose two towers follow the names of the Qwen family. A name of the diffusers library
/// stays.
pub fn two_towers(name: &str) -> String {
    let plain = name.strip_prefix("net.").unwrap_or(name);
    let plain = plain.strip_prefix("model.").unwrap_or(plain);
    let pairs = [
        (".q_proj_moe_gen", ".add_q_proj"),
        (".k_proj_moe_gen", ".add_k_proj"),
        (".v_proj_moe_gen", ".add_v_proj"),
        (".o_proj_moe_gen", ".to_add_out"),
        (".q_norm_moe_gen", ".norm_added_q"),
        (".k_norm_moe_gen", ".norm_added_k"),
        ("self_attn.q_proj", "self_attn.to_q"),
        ("self_attn.k_proj", "self_attn.to_k"),
        ("self_attn.v_proj", "self_attn.to_v"),
        ("self_attn.o_proj", "self_attn.to_out"),
        ("self_attn.q_norm", "self_attn.norm_q"),
        ("self_attn.k_norm", "self_attn.norm_k"),
    ];
    replaced(plain, &[&pairs])
}

/// The name of a Wan 2.1 autoencoder's tensor (`tokenizer.pth`, `Wan2.1_VAE.pth`). A name of the diffusers library
/// stays. The places of blocks within the encoder and decoder are those of the published network: two residual blocks a
/// stage on the way down, three on the way up.
pub fn wan(name: &str) -> Option<String> {
    let (side, rest) = match name.split_once('.') {
        Some((side @ ("encoder" | "decoder"), rest)) => (side, rest),
        _ => {
            return Some(match name.split_once('.') {
                Some(("conv1", rest)) => format!("quant_conv.{rest}"),
                Some(("conv2", rest)) => format!("post_quant_conv.{rest}"),
                _ => name.to_owned(),
            });
        }
    };
    let parts: Vec<&str> = rest.split('.').collect();
    let tail = |from: usize| parts.get(from..).unwrap_or_default().join(".");
    let named = match parts.as_slice() {
        ["conv1", ..] => format!("conv_in.{}", tail(1)),
        ["head", "0", ..] => format!("norm_out.{}", tail(2)),
        ["head", "2", ..] => format!("conv_out.{}", tail(2)),
        ["middle", place @ ("0" | "2"), ..] => {
            let block = if *place == "0" { 0 } else { 1 };
            format!("mid_block.resnets.{block}.{}", residual(&tail(2)))
        }
        ["middle", "1", ..] => format!("mid_block.attentions.0.{}", tail(2)),
        ["downsamples", place, ..] => format!("down_blocks.{place}.{}", residual(&tail(2))),
        ["upsamples", place, ..] => {
            // Fifteen places in a row: three residual blocks and a doubling, four times (the last without).
            let place: usize = place.parse().ok()?;
            match (place / 4, place % 4) {
                (stage, 3) => format!("up_blocks.{stage}.upsamplers.0.{}", tail(2)),
                (stage, block) => format!("up_blocks.{stage}.resnets.{block}.{}", residual(&tail(2))),
            }
        }
        _ => rest.to_owned(),
    };
    Some(format!("{side}.{named}"))
}

/// Parts of a residual block.
fn residual(rest: &str) -> String {
    let pairs = [
        ("residual.0.", "norm1."),
        ("residual.2.", "conv1."),
        ("residual.3.", "norm2."),
        ("residual.6.", "conv2."),
        ("shortcut.", "conv_shortcut."),
    ];
    pairs
        .iter()
        .find_map(|(from, to)| Some(format!("{to}{}", rest.strip_prefix(from)?)))
        .unwrap_or_else(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_names_of_each_generation_become_those_of_the_library() {
        let pairs = [
            ("net.blocks.3.self_attn.q_proj.weight", "transformer_blocks.3.attn1.to_q.weight"),
            ("net.blocks.3.self_attn.q_norm.weight", "transformer_blocks.3.attn1.norm_q.weight"),
            ("net.blocks.0.cross_attn.output_proj.weight", "transformer_blocks.0.attn2.to_out.0.weight"),
            ("net.blocks.11.mlp.layer1.weight", "transformer_blocks.11.ff.net.0.proj.weight"),
            ("net.blocks.11.mlp.layer2.weight", "transformer_blocks.11.ff.net.2.weight"),
            ("net.blocks.2.adaln_modulation_mlp.2.weight", "transformer_blocks.2.norm3.linear_2.weight"),
            ("net.t_embedder.1.linear_1.weight", "time_embed.t_embedder.linear_1.weight"),
            ("net.t_embedding_norm.weight", "time_embed.norm.weight"),
            ("net.x_embedder.proj.1.weight", "patch_embed.proj.weight"),
            ("net.final_layer.adaln_modulation.1.weight", "norm_out.linear_1.weight"),
            ("net.final_layer.linear.weight", "proj_out.weight"),
            ("net.crossattn_proj.0.bias", "crossattn_proj.0.bias"),
            ("net.action_embedder_B_3D.fc1.weight", "action_embedder_B_3D.fc1.weight"),
            ("net.blocks.block5.blocks.0.block.attn.to_q.0.weight", "transformer_blocks.5.attn1.to_q.weight"),
            (
                "net.blocks.block5.blocks.1.block.attn.to_k.1.weight",
                "transformer_blocks.5.attn2.norm_k.weight",
            ),
            (
                "net.blocks.block5.blocks.0.block.attn.to_out.0.weight",
                "transformer_blocks.5.attn1.to_out.0.weight",
            ),
            ("net.blocks.block0.blocks.2.block.layer2.weight", "transformer_blocks.0.ff.net.2.weight"),
            (
                "net.blocks.block0.blocks.1.adaLN_modulation.2.weight",
                "transformer_blocks.0.norm2.linear_2.weight",
            ),
            ("net.affline_norm.weight", "time_embed.norm.weight"),
            ("net.extra_pos_embedder.pos_emb_h", "learnable_pos_embed.pos_emb_h"),
            ("net.final_layer.adaLN_modulation.2.weight", "norm_out.linear_2.weight"),
            ("transformer_blocks.3.attn1.to_q.weight", "transformer_blocks.3.attn1.to_q.weight"),
        ];
        for (from, to) in pairs {
            assert_eq!(transformer(from).unwrap(), to, "{from}");
        }
        for dropped in [
            "net.pos_embedder.seq",
            "net.accum_iteration",
            "net.blocks.0.self_attn.q_norm._extra_state",
            "logvar.0.freqs",
        ] {
            assert_eq!(transformer(dropped), None, "{dropped}");
        }
    }

    #[test]
    fn the_names_of_the_wan_autoencoder_become_those_of_the_library() {
        let pairs = [
            ("encoder.conv1.weight", "encoder.conv_in.weight"),
            ("encoder.downsamples.2.resample.1.weight", "encoder.down_blocks.2.resample.1.weight"),
            ("encoder.downsamples.3.shortcut.weight", "encoder.down_blocks.3.conv_shortcut.weight"),
            ("encoder.downsamples.0.residual.6.bias", "encoder.down_blocks.0.conv2.bias"),
            ("decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma"),
            ("decoder.middle.1.to_qkv.weight", "decoder.mid_block.attentions.0.to_qkv.weight"),
            ("decoder.upsamples.3.time_conv.weight", "decoder.up_blocks.0.upsamplers.0.time_conv.weight"),
            ("decoder.upsamples.4.shortcut.weight", "decoder.up_blocks.1.resnets.0.conv_shortcut.weight"),
            ("decoder.upsamples.14.residual.3.gamma", "decoder.up_blocks.3.resnets.2.norm2.gamma"),
            ("decoder.head.2.bias", "decoder.conv_out.bias"),
            ("decoder.head.0.gamma", "decoder.norm_out.gamma"),
            ("conv1.weight", "quant_conv.weight"),
            ("conv2.bias", "post_quant_conv.bias"),
        ];
        for (from, to) in pairs {
            assert_eq!(wan(from).unwrap(), to, "{from}");
        }
    }
}
