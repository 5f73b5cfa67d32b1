//! A configuration from the shapes of the weights, for NVIDIA's own files, which come without one.

use super::DitConfig;
use super::action::ActionLayout;
use crate::checkpoint::Checkpoint;

/// The configuration of the transformer in `checkpoint`; `None` if it holds none. The stretch of the rotary axes leaves
/// no trace in the weights: it is that of the published network of the same shape.
pub fn infer(checkpoint: &Checkpoint) -> Option<DitConfig> {
    let shape = |name: &str| checkpoint.shape(name);
    let pair = |name: &str| match shape(name) {
        Some([a, b]) => Some((*a, *b)),
        _ => None,
    };
    let (width, numbers) = pair("patch_embed.proj.weight")?;
    let block = |name: &str| format!("transformer_blocks.0.{name}.weight");
    let head = *shape(&block("attn1.norm_q"))?.first()?;
    let (_, text_embed_dim) = pair(&block("attn2.to_k"))?;
    let (adaln_lora_dim, _) = pair(&block("norm1.linear_1"))?;
    let (hidden, _) = pair(&block("ff.net.0.proj"))?;
    let (outputs, _) = pair("proj_out.weight")?;
    let num_layers = (0..)
        .take_while(|i| checkpoint.contains(&format!("transformer_blocks.{i}.attn1.to_q.weight")))
        .count();
    let learned = |axis: &str| Some(*shape(&format!("learnable_pos_embed.pos_emb_{axis}"))?.first()?);
    let places = learned("t").zip(learned("h")).zip(learned("w"));
    let projection = pair("crossattn_proj.0.weight");
    let picture = pair("img_context_proj.0.weight");
    let features = pair("action_embedder_B_D.fc1.weight").map(|(_, features)| features);
    let action = features.map(|features| match features {
        28 => (7, 12, ActionLayout::PerLatentFrame),
        features if features % 12 == 0 => (features / 12, 12, ActionLayout::Chunk),
        features => (features, 1, ActionLayout::Chunk),
    });
    // Patches are 2×2 in every published network, and the padding mask is one of the channels.
    let in_channels = (numbers / 4).checked_sub(1)?;
    let large = width >= 5120;
    let rope_scale = match (places.is_some(), in_channels == 16, projection.is_some()) {
        (true, _, _) if large => [2.0, 2.0, 2.0],
        (true, _, _) => [2.0, 1.0, 1.0],
        (false, true, false) => [1.0, 4.0, 4.0],
        (false, false, false) if large => [20.0 / 24.0, 2.0, 2.0],
        _ => [1.0, 3.0, 3.0],
    };
    Some(DitConfig {
        in_channels,
        out_channels: outputs / 4,
        num_attention_heads: width / head.max(1),
        attention_head_dim: head,
        num_layers,
        mlp_ratio: hidden as f64 / width.max(1) as f64,
        text_embed_dim,
        adaln_lora_dim,
        max_size: places.map_or([128, 240, 240], |((t, h), w)| [t, 2 * h, 2 * w]),
        patch_size: [1, 2, 2],
        rope_scale,
        concat_padding_mask: true,
        extra_pos_embed_type: places.map(|_| "learnable".to_owned()),
        use_crossattn_projection: projection.is_some(),
        crossattn_proj_in_channels: projection.map_or(1024, |(_, inputs)| inputs),
        encoder_hidden_states_channels: projection.map_or(1024, |(outputs, _)| outputs),
        controlnet_block_every_n: picture.map(|_| 7),
        img_context_dim_in: picture.map(|(_, inputs)| inputs),
        img_context_dim_out: picture.map_or(2048, |(outputs, _)| outputs),
        action_dim: action.map(|(size, _, _)| size),
        num_action_per_chunk: action.map(|(_, number, _)| number),
        action_layout: action.map(|(_, _, layout)| layout),
    })
}
