//! The words of tasks, in English and Traditional Chinese.

use super::scene::{ColourName, ObjectSpec, Shape};
use super::task::{Direction, TaskName};

/// "red cube" and "紅色方塊".
pub fn name(object: &ObjectSpec) -> (String, String) {
    name_of(object.colour, &object.shape)
}

fn name_of(colour: ColourName, shape: &Shape) -> (String, String) {
    let (en, zh) = match shape {
        Shape::Cube { .. } => ("cube", "方塊"),
        Shape::Cylinder { .. } => ("cylinder", "圓柱"),
        Shape::Tee { .. } => ("T", "T 形塊"),
    };
    (format!("{} {en}", colour.en()), format!("{}{zh}", colour.zh()))
}

const PLAY: [&str; 8] = [
    "move things around",
    "play with the objects",
    "explore the table",
    "do whatever you like",
    "隨意移動東西",
    "玩玩桌上的東西",
    "探索桌面",
    "隨便動一動",
];

/// Templates of a task: `{a}` the object, `{b}` the other one. English and Chinese, at least four each.
fn templates(name: TaskName) -> (&'static [&'static str], &'static [&'static str]) {
    match name {
        TaskName::Play => (&[], &[]),
        TaskName::PushLeft => (
            &[
                "push the {a} to the left",
                "move the {a} left",
                "slide the {a} leftwards",
                "shove the {a} toward the left side",
                "nudge the {a} to the left",
            ],
            &["把{a}推到左邊", "將{a}往左推", "把{a}向左移動", "讓{a}往左邊滑", "將{a}移到左側"],
        ),
        TaskName::PushRight => (
            &[
                "push the {a} to the right",
                "move the {a} right",
                "slide the {a} rightwards",
                "shove the {a} toward the right side",
                "nudge the {a} to the right",
            ],
            &["把{a}推到右邊", "將{a}往右推", "把{a}向右移動", "讓{a}往右邊滑", "將{a}移到右側"],
        ),
        TaskName::PushAway => (
            &[
                "push the {a} away",
                "push the {a} away from the camera",
                "move the {a} farther back",
                "slide the {a} to the far side",
                "shove the {a} backwards",
            ],
            &["把{a}推遠", "將{a}往遠處推", "把{a}推離鏡頭", "讓{a}往後方滑", "將{a}移到遠側"],
        ),
        TaskName::PushToward => (
            &[
                "push the {a} toward the camera",
                "bring the {a} closer",
                "move the {a} to the front",
                "slide the {a} to the near side",
                "push the {a} toward me",
            ],
            &["把{a}推近", "將{a}往鏡頭推", "把{a}推到前面", "讓{a}往近處滑", "將{a}移到近側"],
        ),
        TaskName::PushOnto => (
            &[
                "push the {a} onto the goal",
                "push the {a} onto the marked area",
                "move the {a} to the target zone",
                "slide the {a} into the circle",
                "put the {a} on the mark by pushing it",
            ],
            &["把{a}推到目標區", "將{a}推上標記區", "把{a}移到目標位置", "讓{a}滑進圓圈", "將{a}推到記號上"],
        ),
        TaskName::Turn => (
            &[
                "turn the {a}",
                "rotate the {a}",
                "spin the {a} by pushing its end",
                "turn the {a} around",
                "twist the {a}",
            ],
            &["轉動{a}", "把{a}轉一轉", "推{a}的一端讓它旋轉", "將{a}轉向", "旋轉{a}"],
        ),
        TaskName::Place => (
            &[
                "put the {a} into the bowl",
                "pick up the {a} and place it in the bowl",
                "drop the {a} into the bowl",
                "place the {a} inside the bowl",
                "grab the {a} and put it in the bowl",
            ],
            &["把{a}放進碗裡", "拿起{a}放到碗中", "將{a}丟進碗裡", "夾起{a}放入碗內", "把{a}擺到碗裡面"],
        ),
        TaskName::Stack => (
            &[
                "stack the {a} on the {b}",
                "put the {a} on top of the {b}",
                "place the {a} onto the {b}",
                "pick up the {a} and set it on the {b}",
                "pile the {a} on the {b}",
            ],
            &["把{a}疊到{b}上", "將{a}放在{b}上面", "拿起{a}疊在{b}上", "把{a}擺到{b}頂上", "將{a}堆到{b}上"],
        ),
        TaskName::Knock => (
            &[
                "knock over the {a}",
                "tip the {a} over",
                "make the {a} fall over",
                "push the {a} over",
                "topple the {a}",
            ],
            &["推倒{a}", "把{a}弄倒", "讓{a}倒下", "將{a}撞倒", "使{a}翻倒"],
        ),
    }
}

/// The push that a sentence asks for, where it is one of the world's own: which way, and the colour of the thing.
pub fn push(text: &str) -> Option<(Direction, ColourName)> {
    let text = text.trim().trim_end_matches(['.', '。']).to_lowercase();
    // Sizes are not in the words.
    let shapes = [
        Shape::Cube { half: 0.0 },
        Shape::Cylinder { radius: 0.0, half_height: 0.0 },
        Shape::Tee { half_width: 0.0, half_height: 0.0 },
    ];
    TaskName::TASKS.into_iter().find_map(|task| {
        let direction = task.direction()?;
        let (english, chinese) = templates(task);
        let colour = ColourName::ALL.into_iter().find(|colour| {
            shapes.iter().any(|shape| {
                let (en, zh) = name_of(*colour, shape);
                let says = |template: &&str, name: &str| template.replace("{a}", name).to_lowercase() == text;
                english.iter().any(|t| says(t, &en)) || chinese.iter().any(|t| says(t, &zh))
            })
        })?;
        Some((direction, colour))
    })
}

/// All phrasings, English first; those of a task need its object.
pub fn phrasings(
    name_of_task: TaskName,
    object: Option<&ObjectSpec>,
    other: Option<&ObjectSpec>,
) -> Vec<String> {
    if name_of_task == TaskName::Play {
        return PLAY.iter().map(|s| s.to_string()).collect();
    }
    let blank = || (String::from("object"), String::from("東西"));
    let (a_en, a_zh) = object.map_or_else(blank, name);
    let (b_en, b_zh) = other.map_or_else(blank, name);
    let (en, zh) = templates(name_of_task);
    en.iter()
        .map(|t| t.replace("{a}", &a_en).replace("{b}", &b_en))
        .chain(zh.iter().map(|t| t.replace("{a}", &a_zh).replace("{b}", &b_zh)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::SceneDistribution;

    #[test]
    fn every_phrasing_of_a_push_is_understood_and_nothing_else_is() {
        let mut pushes = 0;
        for (i, task) in TaskName::TASKS.into_iter().cycle().take(90).enumerate() {
            let distribution = SceneDistribution { task: Some(task), ..SceneDistribution::default() };
            let scene = distribution.sample(i as u64, false);
            let object = &scene.objects[scene.task.object];
            let wanted = task.direction().map(|direction| (direction, object.colour));
            for text in scene.task.phrasings(&scene) {
                assert_eq!(push(&text), wanted, "{text}");
                assert_eq!(push(&format!(" {}. ", text.to_uppercase())), wanted, "{text}");
                pushes += usize::from(wanted.is_some());
            }
        }
        assert!(pushes > 300);
        assert_eq!(push(""), None);
        assert_eq!(push("push the pink cube to the left"), None);
    }
}
