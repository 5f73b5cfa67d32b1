//! Datasets through the engine: taken into a project, looked at, examined.

use forerun::dataset::doctor::View;
use forerun::engine::protocol::{EpisodeSpec, Event, RecordSpec, Request, TrainSpec};
use forerun::media::{Mp4Options, write_mp4};
use forerun::project::datasets;
use forerun::{Frame, dataset::Dataset};

use crate::support::{Bench, done};

fn record(bench: &Bench, episodes: usize) {
    let spec = RecordSpec {
        world: "tabletop".into(),
        behaviour: "expert".into(),
        episodes,
        seed: 5,
        look: "plain".into(),
        size: 64,
        fps: 10,
        picture: Default::default(),
        out: bench.path("set"),
    };
    done(&bench.run(|job| Request::Record { job, spec }));
}

fn reports(events: &[forerun::engine::protocol::Packet<Event>]) -> Vec<serde_json::Value> {
    let value = |e: &Event| match e {
        Event::Report { value, .. } => Some(value.clone()),
        _ => None,
    };
    events.iter().filter_map(|p| value(&p.message)).collect()
}

#[test]
fn a_dataset_is_linked_looked_at_and_examined() {
    let bench = Bench::new();
    record(&bench, 2);
    let (project, set) = (bench.path("project"), bench.path("set"));
    let paths = vec![set.clone()];
    let events = bench.run(|job| Request::ImportDataset { job, project: project.clone(), paths });
    done(&events);
    assert_eq!(reports(&events)[0]["entry"]["name"], "set");
    let listed = datasets::list(&project);
    assert_eq!((listed.len(), listed[0].linked, &listed[0].folder), (1, true, &set));

    let about = reports(&bench.run(|job| Request::ReadDataset { job, folder: set.clone() }));
    assert_eq!(about[0]["episodes"].as_array().unwrap().len(), 2);
    assert_eq!(about[0]["action"][0]["unit"], "deg");
    assert_eq!(about[0]["main_camera"], "observation.images.front");

    let spec = EpisodeSpec { dataset: set.clone(), view: View::default(), episode: 1, side: 32 };
    let events = bench.run(|job| Request::ReadEpisode { job, spec: spec.clone() });
    done(&events);
    let length = reports(&events)[0]["length"].as_u64().unwrap() as usize;
    let mut pictures = 0;
    for packet in &events {
        if let Event::Pictures { sizes, note, .. } = &packet.message {
            assert_eq!((note.as_str(), sizes[0]), ("observation.images.front", (32, 32)));
            assert!(packet.blobs.iter().all(|b| b.len() == 32 * 32 * 3));
            pictures += packet.blobs.len();
        }
    }
    assert_eq!(pictures, length);
    // Numbers are shown as they are corrected.
    let without = View { without: vec!["gripper.pos".into()], ..View::default() };
    let corrected =
        reports(&bench.run(|job| Request::ReadEpisode { job, spec: EpisodeSpec { view: without, ..spec } }));
    assert_eq!(corrected[0]["action"]["channels"].as_array().unwrap().len(), 5);

    let found = bench.run(|job| Request::Examine { job, folder: set.clone(), view: View::default() });
    done(&found);
    assert!(reports(&found)[0]["examination"]["frames"].as_u64().unwrap() > 0);
    assert!(
        bench.fails(|job| Request::ReadDataset { job, folder: bench.path("nowhere") }).contains("nowhere")
    );
}

#[test]
fn clips_become_a_dataset_of_the_project_and_hdf5_is_refused_in_words() {
    let bench = Bench::new();
    let project = bench.path("project");
    let frames: Vec<Frame> = (0..6).map(|i| Frame::filled(48, 32, [i * 30, 10, 200])).collect();
    let clip = bench.path("kitchen.mp4");
    write_mp4(&clip, &frames, Mp4Options::dataset(10.0)).unwrap();
    std::fs::write(bench.path("kitchen.csv"), "a.pos,state.a.pos\n1,0\n2,1\n3,2\n4,3\n5,4\n6,5\n").unwrap();
    let paths = vec![clip];
    done(&bench.run(|job| Request::ImportDataset { job, project: project.clone(), paths }));
    let listed = datasets::list(&project);
    assert_eq!((listed[0].name.as_str(), listed[0].linked), ("kitchen", false));
    let episode = Dataset::open(&listed[0].folder).unwrap().episode(0).unwrap();
    assert_eq!((episode.length, episode.state().unwrap().row(5)), (6, &[5.0][..]));

    std::fs::write(bench.path("demo.hdf5"), b"\x89HDF\r\n\x1a\n....").unwrap();
    let paths = vec![bench.path("demo.hdf5")];
    let text = bench.fails(|job| Request::ImportDataset { job, project: project.clone(), paths });
    assert!(text.contains("HDF5") && text.contains("lerobot"), "{text}");
    assert_eq!(datasets::list(&project).len(), 1, "nothing half made is left");
}

#[test]
fn a_model_is_trained_from_fresh_weights() {
    let bench = Bench::new();
    record(&bench, 2);
    let config = bench.path("run.toml");
    std::fs::write(&config, "name = \"mine\"\nsize = \"micro\"\n").unwrap();
    let spec = TrainSpec {
        config,
        datasets: vec![bench.path("set")],
        out: bench.path("mine"),
        iterations: Some(2),
        ..TrainSpec::default()
    };
    let job = bench.client.next_job();
    bench.client.send(Request::Train { job, spec: spec.clone() }, vec![]);
    let events = bench.collect_within(job, 600);
    done(&events);
    let stages: Vec<_> = reports(&events).iter().map(|v| v["stage"].as_str().unwrap().to_owned()).collect();
    assert!(stages.contains(&"training".to_owned()) && stages.last().unwrap() == "done", "{stages:?}");
    assert!(bench.path("mine").join("model.safetensors").is_file());
    let again = bench.fails(|job| Request::Train { job, spec });
    assert!(again.contains("already holds a model"), "{again}");
}
