// What egui's own shader draws, without its second way of reading a texture.

// Width and height of the window in points; the rest is not used.
@group(0) @binding(0) var<uniform> screen: vec4<f32>;

// The layout is that of egui's renderer, so that its textures fit; its third entry is not needed here.
@group(1) @binding(0) var picture: texture_2d<f32>;
@group(1) @binding(1) var filtered: sampler;

struct Point {
    @builtin(position) position: vec4<f32>,
    @location(0) @interpolate(linear) uv: vec2<f32>,
    @location(1) @interpolate(linear) colour: vec4<f32>,
};

@vertex
fn vertex(
    @location(0) at: vec2<f32>,
    @location(1) uv: vec2<f32>,
    @location(2) colour: vec4<f32>,
) -> Point {
    var out: Point;
    out.position = vec4<f32>(2.0 * at.x / screen.x - 1.0, 1.0 - 2.0 * at.y / screen.y, 0.0, 1.0);
    out.uv = uv;
    out.colour = colour;
    return out;
}

// A surface of one colour, or of one that changes evenly.
@fragment
fn plain(point: Point) -> @location(0) vec4<f32> {
    return point.colour;
}

// Letters and pictures. The textures of the window have one level, so none has to be found.
@fragment
fn pictured(point: Point) -> @location(0) vec4<f32> {
    return point.colour * textureSampleLevel(picture, filtered, point.uv, 0.0);
}
