//! Moving by hand with keys and a gamepad: they move the sliders, and what sliders ask for goes through the safety layer
//! like anything else.

use eframe::egui::{Context, Key, Modifiers};
use forerun::robot::gamepad::Pad;

use crate::app::Studio;
use crate::robot::Wish;

/// Keys that move a joint up and down, by its place: two rows of the keyboard.
const KEYS: [(Key, Key); 6] = [
    (Key::Q, Key::A),
    (Key::W, Key::S),
    (Key::E, Key::D),
    (Key::R, Key::F),
    (Key::T, Key::G),
    (Key::Y, Key::H),
];
/// How fast a held key moves a slider, degrees or per cents a second: what a cautious run may do.
const KEY_SPEED: f64 = 30.0;
/// How fast a stick at its end moves one.
const STICK_SPEED: f64 = 60.0;
/// Longest step of time: a window that was late does not make up for it.
const LONGEST: f64 = 0.1;

/// The keys of a joint, where it has some.
pub fn keys(joint: usize) -> Option<(Key, Key)> {
    KEYS.get(joint).copied()
}

/// How fast each joint is asked to move, degrees or per cents a second, by what is held.
fn speed(joint: usize, held: impl Fn(Key) -> bool, pad: &Pad) -> f64 {
    let keys = keys(joint).map_or(0.0, |(up, down)| f64::from(i8::from(held(up)) - i8::from(held(down))));
    let stick = match joint {
        0 => pad.left.0,
        1 => pad.left.1,
        2 => pad.right.1,
        3 => pad.cross.1,
        4 => pad.right.0,
        5 => pad.triggers.0 - pad.triggers.1,
        _ => 0.0,
    };
    keys * KEY_SPEED + f64::from(stick) * STICK_SPEED
}

/// Moves the sliders by what is held; keys that do so mean nothing else meanwhile.
pub fn by_keys(app: &mut Studio, ctx: &Context, typing: bool) {
    let shown = app.robot.shown();
    let Some(view) = shown.view.filter(|_| shown.by_hand) else { return };
    let (pad, dt) = (app.robot.pad(), f64::from(ctx.input(|i| i.unstable_dt)).clamp(0.0, LONGEST));
    let speeds: Vec<f64> = ctx.input_mut(|i| {
        let speeds =
            (0..view.robot.joints.len()).map(|j| speed(j, |k| !typing && i.key_down(k), &pad)).collect();
        if !typing {
            for (up, down) in KEYS {
                i.consume_key(Modifiers::NONE, up);
                i.consume_key(Modifiers::NONE, down);
            }
        }
        speeds
    });
    for (j, (speed, joint)) in speeds.into_iter().zip(&view.robot.joints).enumerate() {
        let Some(slider) = app.robot_view.sliders.get_mut(j).filter(|_| speed != 0.0) else { continue };
        let to = (f64::from(*slider) + speed * dt).clamp(joint.low, joint.high.max(joint.low));
        *slider = to as f32;
        app.robot.wish(Wish::Slide(j, to));
        ctx.request_repaint();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_sticks_move_their_joints_and_nothing_else() {
        let pad = Pad::default();
        for joint in 0..7 {
            assert_eq!(speed(joint, |_| false, &pad), 0.0, "nothing held, nothing asked");
        }
        assert_eq!(speed(1, |k| k == Key::W, &pad), KEY_SPEED);
        assert_eq!(speed(1, |k| k == Key::S, &pad), -KEY_SPEED);
        assert_eq!(speed(1, |k| matches!(k, Key::W | Key::S), &pad), 0.0, "both: neither");
        assert_eq!(speed(0, |k| k == Key::W, &pad), 0.0);
        let pad = Pad { left: (0.5, 0.0), triggers: (0.0, 1.0), ..Pad::default() };
        assert_eq!((speed(0, |_| false, &pad), speed(5, |_| false, &pad)), (30.0, -60.0));
    }
}
