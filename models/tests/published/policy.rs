//! Cosmos Policy from pictures to actions, what follows them, and their worth.

use std::ops::ControlFlow;

use forerun_models::Frame;
use forerun_models::published::{ClipJob, ClipMade, ClipMoment, ClipSettings, Published, PublishedError};
use forerun_models::testing::published::Tiny;

use crate::support::{HEIGHT, WIDTH, distance, folder, frames, open, settings};

fn asked(
    model: &Published,
    given: &[Frame],
    state: Option<&[f32]>,
    steps: usize,
    settings: &ClipSettings,
) -> Result<ClipMade, PublishedError> {
    let job = ClipJob { prompt: "put the T away", given, actions: None, state, steps, seed: 1, settings };
    model.imagine(&job, &mut |_: ClipMoment<'_>| ControlFlow::Continue(()))
}

#[test]
fn a_policy_chooses_actions_and_imagines_what_its_cameras_will_see() {
    let dir = folder(Tiny::Policy);
    let model = open(dir.path()).unwrap();
    let own = ClipSettings { denoise: Some(5), ..settings() };
    let contract = model.folder().contract("policy", &own).unwrap();
    assert_eq!((contract.frame.history, contract.state.len(), contract.text), (2, 9, true));
    assert_eq!(contract.family, "cosmos-policy");
    let (views, state) = (frames(2), [0.5f32; 9]);
    let made = asked(&model, &views, Some(&state), 2, &own).unwrap();
    let planned = made.planned.clone().unwrap();
    assert_eq!((made.frames.len(), planned.rows.len(), planned.rows[0].len()), (2, 16, 7));
    assert!(made.frames.iter().all(|f| (f.width, f.height) == (WIDTH, HEIGHT)));
    assert!((0.0..=1.0).contains(&planned.value), "{}", planned.value);
    assert_eq!(planned.state.as_ref().unwrap().len(), 9);
    // The same again, from memory and from disk; another state is another plan.
    assert_eq!(asked(&model, &views, Some(&state), 2, &own).unwrap().planned.unwrap(), planned);
    assert_eq!(
        asked(&open(dir.path()).unwrap(), &views, Some(&state), 2, &own).unwrap().planned.unwrap(),
        planned
    );
    let other = asked(&model, &views, Some(&[-1.0; 9]), 2, &own).unwrap();
    assert!(other.planned.unwrap().rows != planned.rows);
    // The state may be a choice, which is then in every record.
    let chosen = ClipSettings { state: Some(state.to_vec()), ..own.clone() };
    assert_eq!(asked(&model, &views, None, 2, &chosen).unwrap().planned.unwrap(), planned);
    // The cameras in another order see another scene.
    let swapped: Vec<Frame> = views.iter().rev().cloned().collect();
    let turned = asked(&model, &swapped, Some(&state), 2, &own).unwrap();
    assert!(distance(&turned.frames, &made.frames) > 0.0);
}

#[test]
fn a_policys_steps_are_told_with_small_pictures_of_what_comes() {
    let dir = folder(Tiny::Policy);
    let model = open(dir.path()).unwrap();
    let settings = ClipSettings { denoise: Some(3), state: Some(vec![0.0; 9]), ..settings() };
    let views = frames(2);
    let job = ClipJob {
        prompt: "x",
        given: &views,
        actions: None,
        state: None,
        steps: 2,
        seed: 1,
        settings: &settings,
    };
    let mut told = Vec::new();
    model
        .imagine(&job, &mut |moment: ClipMoment<'_>| {
            if let ClipMoment::Step { done, total, previews } = moment {
                let covered: Vec<usize> = previews.iter().flat_map(|(range, _)| range.clone()).collect();
                assert_eq!(covered, [0, 1]);
                told.push((done, total));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(told, [(1, 3), (2, 3), (3, 3)]);
    let stopped = model.imagine(&job, &mut |moment: ClipMoment<'_>| match moment {
        ClipMoment::Step { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(stopped, Err(PublishedError::Stopped)));
}

#[test]
fn what_a_policy_lacks_is_said_in_words() {
    let dir = folder(Tiny::Policy);
    let model = open(dir.path()).unwrap();
    let fails = |given: usize, state: Option<&[f32]>, steps: usize| {
        asked(&model, &frames(given), state, steps, &settings())
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    };
    assert!(fails(1, Some(&[0.0; 9]), 2).contains("2 cameras (wrist, primary)"));
    assert!(fails(2, Some(&[0.0; 9]), 5).contains("2 steps"));
    let error = fails(2, None, 2);
    assert!(error.contains("state_0") && error.contains("9 numbers"), "{error}");
    assert!(fails(2, Some(&[0.0; 3]), 2).contains("9 numbers"));
}
