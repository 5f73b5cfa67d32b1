#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use forerun_models::{Channel, ChannelMode};

fn contract() -> Contract {
    let mut contract = crate::engine::record::tests::example().contract;
    let channel = |name: &str| Channel {
        name: name.into(),
        unit: "deg".into(),
        min: -90.0,
        max: 90.0,
        mode: ChannelMode::Absolute,
        mean: 0.0,
        std: 1.0,
    };
    contract.actions = vec![channel("pan.pos"), channel("elbow.pos")];
    contract
}

fn base() -> ImagineSpec {
    ImagineSpec {
        model: "small".into(),
        start: Start::Episode { dataset: "d".into(), episode: 0, at: 5 },
        prompt: "push".into(),
        actions: Actions::Track {
            channels: vec!["elbow.pos".into(), "pan.pos".into()],
            rows: vec![vec![10.0, 1.0], vec![20.0, 2.0], vec![60.0, 3.0]],
        },
        steps: 3,
        seeds: vec![1, 2, 3],
        refine: 4,
        device: "cpu".into(),
        out: Some("out".into()),
        clip: Default::default(),
    }
}

fn sweep(x: Axis, y: Option<Axis>) -> Result<Sweep, Failure> {
    let state = [("elbow.pos".to_owned(), 10.0)];
    let weights = BTreeMap::from([("small".to_owned(), 10), ("large".to_owned(), 100)]);
    Sweep::new(&base(), x, y, &contract(), &state, &weights)
}

fn track(cell: &Cell) -> Vec<Vec<f32>> {
    match &cell.spec.actions {
        Actions::Track { rows, .. } => rows.clone(),
        _ => Vec::new(),
    }
}

#[test]
fn every_cell_is_the_base_with_two_things_changed() {
    let x = Axis::Prompt { values: vec!["push".into(), "推".into()] };
    let y = Axis::Refine { values: vec![8, 1] };
    let sweep = sweep(x, Some(y)).unwrap();
    let seen: Vec<_> =
        sweep.cells.iter().map(|c| (c.x, c.y, c.spec.prompt.as_str(), c.spec.refine)).collect();
    assert_eq!(seen, [(0, 0, "push", 8), (1, 0, "推", 8), (0, 1, "push", 1), (1, 1, "推", 1)]);
    let out: Vec<_> = sweep.cells.iter().map(|c| c.spec.out.clone().unwrap()).collect();
    assert_eq!(out[3], PathBuf::from("out/x01-y01"));
    assert!(
        sweep.cells.iter().all(|c| c.spec.seeds == [1] && c.spec.actions == base().actions && !c.clamped)
    );
    assert_eq!(sweep.at(1, 1), Some(&sweep.cells[3]));
}

#[test]
fn cells_are_filled_cheapest_first_and_one_model_after_the_other() {
    let x = Axis::Model { values: vec!["large".into(), "small".into(), "unknown".into()] };
    let y = Axis::Refine { values: vec![8, 1] };
    let mut sweep = sweep(x, Some(y)).unwrap();
    let order: Vec<_> = sweep
        .order()
        .iter()
        .map(|i| (sweep.cells[*i].spec.model.clone(), sweep.cells[*i].spec.refine))
        .collect();
    let wanted = [("small", 1), ("small", 8), ("large", 1), ("unknown", 1), ("large", 8), ("unknown", 8)];
    assert_eq!(order, wanted.map(|(m, r)| (m.to_owned(), r)));
    let first = sweep.next().unwrap();
    sweep.set(first, CellState::Running { job: 7 });
    assert_eq!(sweep.of_job(7), Some(first));
    let second = sweep.next().unwrap();
    assert_ne!(first, second);
    sweep.set(second, CellState::Done { folder: "f".into() });
    assert_eq!(sweep.progress(), (1, 6));
    assert_eq!(sweep.cancel(), [7]);
    assert_eq!(sweep.next(), None);
    sweep.set(99, CellState::Cancelled);
}

#[test]
fn gains_are_about_the_start_and_offsets_stay_in_range() {
    let x = Axis::Gain { channel: "elbow.pos".into(), values: vec![0.5, 1.0, 2.0] };
    let y = Axis::Offset { channel: "elbow.pos".into(), values: vec![0.0, -5.0] };
    let sweep = sweep(x, Some(y)).unwrap();
    // 10 + 0.5 * (v - 10); the other channel is left alone.
    assert_eq!(track(&sweep.cells[0]), [[10.0, 1.0], [15.0, 2.0], [35.0, 3.0]]);
    assert_eq!(track(&sweep.cells[1]), track(&Cell { spec: base(), ..sweep.cells[1].clone() }));
    // 10 + 2 * (60 - 10) = 110, over 90.
    assert_eq!(track(&sweep.cells[2])[2], [90.0, 3.0]);
    assert_eq!(
        sweep.cells.iter().map(|c| c.clamped).collect::<Vec<_>>(),
        [false, false, true, false, false, true]
    );
    // Gain first, then the offset: 110 - 5, and only then the range.
    assert_eq!(track(&sweep.cells[5])[2][0], 90.0);
    assert_eq!(track(&sweep.cells[3])[0][0], 5.0);
    // Without a known state, the first row is what stays where it is.
    let x = Axis::Gain { channel: "pan.pos".into(), values: vec![3.0] };
    let free = Sweep::new(&base(), x, None, &contract(), &[], &BTreeMap::new()).unwrap();
    assert_eq!(track(&free.cells[0]).iter().map(|r| r[1]).collect::<Vec<_>>(), [1.0, 4.0, 7.0]);
}

#[test]
fn other_starts_and_seeds_are_written_where_they_belong() {
    let sweep =
        sweep(Axis::StartFrame { values: vec![0, 30] }, Some(Axis::Seed { values: vec![u64::MAX, 4] }))
            .unwrap();
    let last = &sweep.cells[3].spec;
    assert_eq!(last.start, Start::Episode { dataset: "d".into(), episode: 0, at: 30 });
    assert_eq!((last.seeds.as_slice(), sweep.cells[0].spec.seeds[0]), ([4].as_slice(), u64::MAX));
}

#[test]
fn labels_are_short_and_carry_their_units() {
    let contract = contract();
    let offset = Axis::Offset { channel: "elbow.pos".into(), values: vec![-10.0, 0.0, 2.5] };
    let labels: Vec<_> = (0..4).map(|i| offset.label(i, Some(&contract))).collect();
    assert_eq!(labels, ["-10 deg", "0 deg", "+2.5 deg", ""]);
    assert_eq!((offset.name().as_str(), offset.len()), ("elbow.pos offset", 3));
    let gain = Axis::Gain { channel: "x".into(), values: vec![1.25] };
    assert_eq!(gain.label(0, None), "x 1.25");
    assert_eq!(Axis::Model { values: vec!["/a/tabletop".into()] }.label(0, None), "tabletop");
}

#[test]
fn sweeps_that_make_no_sense_say_why() {
    let prompt = || Axis::Prompt { values: vec!["a".into()] };
    let elbow = |values| Axis::Offset { channel: "elbow.pos".into(), values };
    let cases: [(Axis, Option<Axis>, &str); 7] = [
        (Axis::Seed { values: vec![] }, None, "no values"),
        (prompt(), Some(prompt()), "same thing"),
        (elbow(vec![1.0]), Some(elbow(vec![2.0])), "same thing"),
        (
            Axis::Seed { values: (0..21).collect() },
            Some(Axis::StartFrame { values: (0..20).collect() }),
            "420",
        ),
        (Axis::Refine { values: vec![9] }, None, "refinement of 9"),
        (Axis::Offset { channel: "knee".into(), values: vec![1.0] }, None, "no channel knee"),
        (elbow(vec![f32::NAN]), None, "NaN"),
    ];
    for (x, y, word) in cases {
        let text = sweep(x, y).unwrap_err().text();
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    let mut free = base();
    free.actions = Actions::Free;
    let refused = Sweep::new(&free, elbow(vec![1.0]), None, &contract(), &[], &BTreeMap::new());
    assert!(refused.unwrap_err().text().contains("numbers drive"));
    free.start = Start::Nothing;
    let starts = Axis::StartFrame { values: vec![1] };
    assert!(Sweep::new(&free, starts, None, &contract(), &[], &BTreeMap::new()).is_err());
}
