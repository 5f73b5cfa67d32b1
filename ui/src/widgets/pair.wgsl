// Views of a pair of pictures. Whole numbers in, whole numbers out: the formulas are those of `forerun::compare::diff`,
// and a test holds every pixel against them.

struct View {
    // 0 wipe, 1 onion skin, 2 signed difference, 3 heat map, 4 flicker
    mode: u32,
    // wipe: 0 upright, 1 level; flicker: 1 shows the second picture
    flag: u32,
    // onion skin: share of the second picture, 0..=255
    share: u32,
    // signed difference: amplification
    gain: f32,
    // wipe: where the line is, in pixels of the pictures
    line: f32,
    // pixels of the screen for one of the pictures; 1 = softened
    scale: f32,
    // width and height of the pictures
    size: vec2<u32>,
    // the part of the pictures that is shown, 0..=1: left, top, width, height
    part: vec4<f32>,
};

@group(0) @binding(0) var<uniform> view: View;
@group(0) @binding(1) var first: texture_2d<f32>;
@group(0) @binding(2) var second: texture_2d<f32>;
@group(0) @binding(3) var colours: texture_2d<f32>;

struct Corner {
    @builtin(position) place: vec4<f32>,
    @location(0) at: vec2<f32>,
};

// One triangle that covers the viewport.
@vertex
fn vertex(@builtin(vertex_index) i: u32) -> Corner {
    let x = f32((i << 1u) & 2u);
    let y = f32(i & 2u);
    var out: Corner;
    out.place = vec4<f32>(x * 2.0 - 1.0, 1.0 - y * 2.0, 0.0, 1.0);
    out.at = vec2<f32>(x, y);
    return out;
}

fn whole(colour: vec4<f32>) -> vec3<i32> {
    return vec3<i32>(round(colour.rgb * 255.0));
}

// The view's colour, 0..=255, at a pixel of the pictures.
fn colour_at(pixel: vec2<i32>) -> vec3<f32> {
    let last = vec2<i32>(view.size) - vec2<i32>(1, 1);
    let at = clamp(pixel, vec2<i32>(0, 0), last);
    let a = whole(textureLoad(first, at, 0));
    let b = whole(textureLoad(second, at, 0));
    switch view.mode {
        case 0u: {
            let place = select(at.x, at.y, view.flag == 1u);
            return vec3<f32>(select(b, a, f32(place) + 0.5 < view.line));
        }
        case 1u: {
            let w = i32(view.share);
            return vec3<f32>((a * (255 - w) + b * w + vec3<i32>(127)) / 255);
        }
        case 2u: {
            let by = view.gain * vec3<f32>(b - a);
            return clamp(floor(vec3<f32>(128.5) + by), vec3<f32>(0.0), vec3<f32>(255.0));
        }
        case 3u: {
            let d = abs(b - a);
            let most = max(d.x, max(d.y, d.z));
            return vec3<f32>(whole(textureLoad(colours, vec2<i32>(most, 0), 0)));
        }
        default: {
            return vec3<f32>(select(a, b, view.flag == 1u));
        }
    }
}

@fragment
fn fragment(in: Corner) -> @location(0) vec4<f32> {
    let at = (view.part.xy + in.at * view.part.zw) * vec2<f32>(view.size) - vec2<f32>(0.5);
    let corner = vec2<i32>(floor(at));
    // Pixels stay squares; only the last bit between two of them is blended.
    let blend = clamp((fract(at) - 0.5) * max(view.scale, 1.0) + 0.5, vec2<f32>(0.0), vec2<f32>(1.0));
    let upper = mix(colour_at(corner), colour_at(corner + vec2<i32>(1, 0)), blend.x);
    let lower = mix(colour_at(corner + vec2<i32>(0, 1)), colour_at(corner + vec2<i32>(1, 1)), blend.x);
    return vec4<f32>(mix(upper, lower, blend.y) / 255.0, 1.0);
}
