//! The window's words, in English and in Traditional Chinese.
//!
//! Keys are fields, so that a missing one does not compile; unknown or missing keys of a file fail a test. `{name}`
//! in a text is filled in by [`fill`].

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A language of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Chinese as written in Taiwan.
    #[serde(rename = "zh-TW")]
    Chinese,
}

impl Language {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// The language of an environment variable like `LANG=zh_TW.UTF-8`.
    pub fn of_locale(locale: &str) -> Self {
        if locale.starts_with("zh") { Self::Chinese } else { Self::English }
    }

    /// Its own name.
    pub fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::Chinese => "中文",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::English => Self::Chinese,
            Self::Chinese => Self::English,
        }
    }
}

/// Fills `{name}` places of a text.
pub fn fill(text: &str, values: &[(&str, &dyn std::fmt::Display)]) -> String {
    let mut out = text.to_owned();
    for (name, value) in values {
        out = out.replace(&format!("{{{name}}}"), &value.to_string());
    }
    out
}

/// The words of a language.
pub fn strings(language: Language) -> &'static Strings {
    // Both files are compiled in, and a test reads both: English cannot be missing in a build that passed.
    match language {
        Language::English => &ENGLISH,
        Language::Chinese => &CHINESE,
    }
}

static ENGLISH: LazyLock<Strings> = LazyLock::new(|| read(include_str!("../../assets/locales/en.toml")));
static CHINESE: LazyLock<Strings> = LazyLock::new(|| read(include_str!("../../assets/locales/zh-TW.toml")));

fn read(text: &str) -> Strings {
    match toml::from_str(text) {
        Ok(strings) => strings,
        Err(error) => panic!("a file of words that was compiled in is broken: {error}"),
    }
}

/// Reads a group of words: every field must be there, and nothing else. What serde would derive grows with the square of
/// the number of fields: more than a megabyte of code and minutes of compiling for the largest group.
macro_rules! read_from_file {
    ($group:ident: $kind:ty { $($field:ident),* }) => {
        impl<'de> Deserialize<'de> for $group {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let words = BTreeMap::<String, $kind>::deserialize(from)?;
                let mut out = Self { $($field: Default::default()),* };
                take_all(words, [$((stringify!($field), &mut out.$field)),*].as_mut_slice())
                    .map_err(D::Error::custom)?;
                Ok(out)
            }
        }
    };
}

fn take_all<T>(mut words: BTreeMap<String, T>, places: &mut [(&str, &mut T)]) -> Result<(), String> {
    for (name, place) in places {
        **place = words.remove(*name).ok_or_else(|| format!("{name} is missing"))?;
    }
    words.keys().next().map_or(Ok(()), |name| Err(format!("{name} is not known")))
}

macro_rules! words {
    ($($(#[$doc:meta])* $group:ident { $($field:ident),* $(,)? })*) => {
        $($(#[$doc])*
        #[derive(Clone, Debug, Serialize)]
        #[allow(missing_docs)] // The texts themselves are in `assets/locales`.
        pub struct $group { $(pub $field: String),* }
        read_from_file!($group: String { $($field),* });)*
    };
}

macro_rules! command_words {
    ($($field:ident),* $(,)?) => {
        /// Name and explanation of each command.
        #[derive(Clone, Debug, Serialize)]
        #[allow(missing_docs)]
        pub struct Commands { $(pub $field: CommandText),* }
        read_from_file!(Commands: CommandText { $($field),* });
    };
}

/// Name and explanation of a command.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CommandText {
    /// What buttons and the palette show.
    pub name: String,
    /// What a tooltip says.
    pub tip: String,
}

/// All words of the window.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Strings {
    pub shell: Shell,
    pub world: World,
    pub numbers: Numbers,
    pub model: Model,
    pub clip: ClipWords,
    pub shelf: ShelfWords,
    pub ask: AskWords,
    pub transport: TransportWords,
    pub jobs: Jobs,
    pub compare: CompareWords,
    pub data: DataWords,
    pub doctor: DoctorWords,
    pub train: TrainWords,
    pub policy: PolicyWords,
    pub robot: RobotWords,
    pub trouble: Trouble,
    pub scenes: Scenes,
    pub commands: Commands,
}

words! {
    /// Bars, rail, palette, log.
    Shell {
     world, compare, data, train, policy, search_hint, nothing_found, engine_ready, engine_starting, engine_gone, engine_off, log, log_empty, shortcuts, robot, models,
        close, copy_details, copied, untitled, dismiss,     }
    /// The World screen.
    World {
        start, start_empty, start_drop, open, new_frame, episode, episode_hint, episode_example, episode_use, episode_browse,         start_from_words, start_episode, start_drawn, start_future, at_frame,
        prompt, prompt_hint, unknown_words, no_text, mode, mode_words, mode_numbers, mode_both, mode_free,
        mode_words_tip, mode_numbers_tip, mode_both_tip, mode_free_tip, futures, seed, refine, length, steps,
        refine_tip, futures_tip, length_tip, seed_tip, imagine, cancel, empty_title, empty_text,         caption_seed, caption_refine, truth, imagining, done_in, unfamiliar, unfamiliar_tip, saved, saved_to,         waiting, failed, cancelled, drop_here, run_of, pane, start_frame, device,     }
    /// The Robot screen.
    RobotWords {
        empty_title, empty_text, no_camera, no_picture, connect, connecting, connect_to, connect_button, virtual_arm, virtual_arm_tip, elsewhere, files_hint, leave, leave_tip, waiting, disconnected, limp, armed, ready, running, hold, fault, disconnected_means, limp_means, armed_means, ready_means, running_means, hold_means, fault_means, left_stiff, arm, arm_tip, by_hand, by_hand_tip, park, park_tip, resume, resume_tip, acknowledge, acknowledge_tip, release, release_tip, release_hold, record, record_tip, recorded, stage_runs, calibration, calibration_limp, compare_calibration, calibration_tip, calibration_same, calibration_none, calibration_row, calibration_choose, use_motors, use_file, sweep, sweep_middle, sweep_begin, sweep_ends, sweep_keep, sweep_leave, link, period, black_box, black_box_tip, black_box_empty, close_black_box, moment, joints, sliders, sliders_hint, position, goal, load, load_alone, heat, supply, limits, bundle, install, install_tip, no_bundle, roll_back, roll_back_tip, prompt, replay, replay_means, rehearse, rehearse_means, shadow, shadow_means, cautious, cautious_means, normal, normal_means, run_stage, stage_running, counts, counts_not, skip, skip_hint, skip_button, dead_man, dead_man_held, dead_man_hint, stop, stop_tip, pack, pack_tip, wiggle, pad_hint, ghost, ghost_tip, ghost_of, twins, twins_tip, twins_none, twins_error, twins_episode, twins_means,
    }
    /// Channels and curves.
    Numbers {
        numbers, curve, show_curve, hide_curve, hold, linear, keyframe,         reset, none, recorded, recorded_tip, curve_hint, value_at, off_in_mode, more, fewer,
    }
    /// The model's card.
    Model {
        choose, none, none_text, takes, gives, knows, licence, hash, frames, history, text_yes,         channels, state, parameters, embodiment, folder, looking,
    }
    /// Choices for models that make whole clips.
    ClipWords {
        title, width, height, denoise, denoise_tip, guidance, guidance_tip, negative, negative_hint, body, no_body,
        reference, reference_tip, reference_diffusers, reference_nvidia, offload, offload_tip, tiles, tiles_tip,
        bits, bits_tip, bits_plain, memory, step_of, reset,
    }
    /// Questions to a reasoner.
    AskWords { said, thinking, close, hint, reasoner, question, usual, go }
    /// The Models screen.
    ShelfWords {
        here, published, hub, endpoint, token, token_hint, network, import, choose, bodies, files, memory, fits,
        fits_saving, fits_not, repository, terms, terms_nvidia, terms_guardrails, terms_openmdw, terms_no_guardrails,
        terms_accept, terms_decline, gated, use_it, check, remove, remove_tip, download, cancel, kept, takes_words,
        takes_frames, takes_words_frames, takes_control, takes_cameras, takes_all, gives_picture, gives_clip, gives_all, gives_plan,
    }
    /// The transport bar.
    TransportWords { frame, rate, play, pause, timeline }
    /// The Compare screen.
    CompareWords {
        panes, tree, sweep, gallery, empty_title, empty_text, empty_set, go_world, pair, set, position, opacity, gain,
        side, wipe, onion, signed, heat, flicker, mean, spread, median, pane, pane_menu, truth, truth_of, waiting, world, world_numbers, world_imagined, world_held, world_beside, against_world, against_recording, against_mixed, memory_tip, strip,
        reading, first, second, frames_held, equal, brighter_in, levels, deviation_levels, muted, remove, one_needed,
        two_needed, sizes_differ, memory, zoomed, drag_to_move, added, full, in_set, legend_signed, legend_heat,
        legend_spread, of_futures, removed,
        branch_at, diff_seed, diff_refine, diff_model, diff_weights, diff_no_prompt, diff_drive, diff_steps, diff_from_step, diff_start, diff_length, diff_machine, median_of, measuring, no_numbers, metric_changed, metric_object, metric_object_px, metric_angle, metric_gripper, metric_joints, metric_spread, metric_gripper_spread, more_is_better, less_is_better, spread_tip, whole_set, plot, tree_empty, no_futures, tree_row, frames_of, without_words, new_name, gallery_empty, search, search_hint, found, broken, in_compare, made_from, sweep_empty, sweep_base, sweep_progress, sweep_none, axis_nothing, axis_model, axis_start, axis_gain, axis_offset, axis_x, axis_y, axis_channel, axis_values, axis_words_help, axis_range_help, axis_numbers_help, axis_unreadable, cell, cell_clamped, cell_tip, blind_ask, blind_of, blind_hint, blind_left, blind_right, blind_end, blind_result, blind_against, blind_clear, blind_open, blind_kept, branch_text, branch_words, pace, pace_tip, deleted, changed_again, export_mp4, export_mp4_tip, export_gif, export_gif_tip, export_sequence, export_sequence_tip, export_sheet, export_sheet_tip, export_strip, export_strip_tip, export_csv, export_csv_tip, export_json, export_json_tip, export_title, export_scale, export_paper, export_dark, export_light, export_choose, exported, exporting, stop_export, follow_title, follow_text, follow_model, follow_channel, no_thread
    }
    /// The Data screen.
    DataWords {
        they_are, drop_here, empty_title, empty_text, datasets, episodes, episode, reading, without_words, unlink,
        learn, judge, leave_out, learn_tip, judge_tip, leave_out_tip, use_for, judge_default, facts,
        start_here, camera, camera_tip, picture_of, action, state, plot_of, doctor, doctor_text, examine,
        examining, mend_all, mend_one, mend, mend_sure, mend_unsure, healthy, looked_at, topic_lag,
        topic_unit, topic_relative, topic_dead, topic_missing, topic_frozen, topic_repeated, topic_dropped,
        topic_exposure, topic_same, topic_coverage, topic_unread, corrections, corrections_text, take_back,
        fix_action_lag, fix_state_lag, fix_without, fix_unit, fix_relative, fix_leave_out, fix_hold_out,
        record_text, name, record, expert, expert_tip, play, play_tip, noisy, noisy_tip, idle, idle_tip,
        plain, plain_tip, rich, rich_tip, picture_rgb, picture_rgb_tip, picture_depth, picture_depth_tip, picture_segments,
        picture_segments_tip, picture_edges, picture_edges_tip, robot_title, robot_close, robot_connect, robot_task, robot_task_hint, robot_dataset, robot_start, robot_limp, robot_stiff, robot_progress, robot_full, robot_keep, robot_discard, robot_discard_tip, robot_saving,
    }
    /// Sentences of the data doctor.
    DoctorWords {
        states_late, states_early, actions_late, follows_slowly, follows, no_action_moves, state_dead, never_moves, action_stays, numbers_missing, camera_frozen, camera_frozen_some, pictures_twice, frames_missing, brightness_jumps, few_episodes, episodes_twice, stands_still, narrow, gripper_bare, not_hundred, bare_degrees, not_degrees, bare_hundred, not_unit_radians, bare_radians, bare_either, changes, unread,
    }
    /// The Train screen.
    TrainWords {
        empty_title, empty_text, base, base_facts, data, go_data, no_data, corrected, method, auto,
        auto_tip, full, full_tip, lora, lora_tip, minutes, minutes_tip, iterations, iterations_tip, exact,
        replay, replay_tip, name, name_text, start, choose_data, one_at_a_time, runs, forget, running,
        stopping, paused, done, refused, preflight_speed, preflight_steps, preflight_room, from, use_model,
        compare, compare_tip, time_left, preparing, stands_at, loss, pace, at_step, beside, delta, follows,
        ignores, spread, spread_below, before_text, freeze, shuffled, loss_plot, psnr_plot, delta_plot,
        no_preview, held_out, window, preview_at, truth, before, now, after, checkpoints, checkpoints_text,
        checkpoint, use_this, use_checkpoint, scorecard, scorecard_text, steps_ahead, gain, old_world,
        ignores_text, lineage, used, finished, shape, crop, crop_tip, bars, bars_tip, cropped, barred,
    }
    /// The Policy screen.
    PolicyWords {
        train, train_tip, evaluate, evaluate_tip, improve, improve_tip, watch, watch_tip, rank, rank_tip,
        stop, start_train, start_evaluate, start_improve, start_watch, start_rank, rank_count, data_text,
        policy, no_policy, model, model_tip, place, physics, physics_tip, imagination, imagination_tip,
        looks_at, leads_physics, leads_imagination, push_left, push_right, push_away, push_toward,
        all_pushes, task, task_tip, look, episodes, episodes_tip, steps, steps_tip, seed_tip, best_of,
        best_of_tip, size, micro, micro_tip, small, small_tip, medium, medium_tip, snapshots, snapshots_tip,
        imagined, imagined_tip, witnesses, witnesses_tip, name_text, unfinished, resume, with_snapshots,
        tried, tried_below, accepted, accepted_below, doubtful, doubtful_below, empty_improve,
        empty_improve_text, empty_train, empty_train_text, loss_plot, loss_learnt, loss_held_out, loss_text,
        off_by, off_by_text, empty_evaluate, empty_evaluate_text, nothing, random, expert, in_model,
        in_physics, rule, rate, count, about_numbers, failures, no_failures, failures_text, watch_episode,
        got_to, empty_watch, empty_watch_text, acting, branch, branch_tip, progress, progress_plot,
        succeeded, empty_rank, empty_rank_text, no_agreement, interval, rank_text, scatter, axis_model,
        axis_world, led_by, by_words, by_words_tip, by_pictures, by_pictures_tip, deciding, alone, alone_tip, best_of_way, best_of_way_tip, planner, planner_tip, subgoals, subgoals_tip, own_way, own_actions, own_actions_tip, acts, policy_acts, policy_acts_tip, model_acts, model_acts_tip, acted_futures_tip, starts, starts_tip, starts_own, doubt_seeds, doubt_seeds_tip, cem, cem_tip, mppi, mppi_tip, from_policy, from_policy_tip, ahead, ahead_tip, goal_futures, goal_futures_tip, goal_alone, goal_planned, words_subgoals, deaf_model, rank_goal, how_long, how_long_tip, measuring, pace, best_of_n, how_alone, how_best_of, how_planner, how_subgoals, how_own_actions, plans, count_overruled, count_doubtful, count_goals, count_tracks, goal_picture, goal_picture_text,
    }
    /// Jobs.
    Jobs { importing, recording, examining, training, learning, acting, evaluating, left, cancel_job, imagining, drawing, loading, reading, saving, listing, downloading, checking, removing, reasoning }
    /// What goes wrong, and what to do.
    Trouble {
        engine_stopped, retry, dismiss, cannot_read_image, cannot_save_state, not_an_episode, nothing_to_save,
        no_model, no_display, no_driver, no_window, project_missing, engine_not_started,
        state_newer, state_broken,     }
    /// Starter scenes: words that go with each.
    Scenes { title, left, right, toward, away, scene }
}

command_words! {
    imagine, cancel, save_futures, new_world_frame, open_frames, open_episode, clear_start, branch_here, reroll_seed,
    ask_reasoner, more_futures, fewer_futures, reset_numbers, undo, redo, toggle_play, step_forward, step_back, first_frame,
    last_frame, toggle_loop, faster, slower, toggle_maximise, previous_run, next_run, toggle_smooth, show_model,
    open_project, palette, shortcuts, toggle_log, toggle_theme, toggle_language, zoom_in, zoom_out, zoom_reset,
    reset_layout, quit,
     show_world, show_compare, compare_run, compare_pane, next_pane, previous_pane, pane_left, pane_right, pin_pane, mute_pane, remove_pane, clear_panes, zoom_panes_in, zoom_panes_out, zoom_panes_whole, pan_left, pan_right, pan_up, pan_down, mark_a, mark_b, swap_pair, most_different, look_side, look_wipe, look_onion, look_signed, look_heat, look_flicker, look_mean, look_spread, look_median, show_panes, show_tree, show_sweep, show_gallery, toggle_numbers, add_chosen, add_world, retry_pane, branch_from, imagine_again, rename_future, start_sweep, add_sweep, measure_following, export, blind_test, vote_left, vote_tie, vote_right, show_robot, stop_robot, show_models,
    show_data, import_data, import_clips, record_data, record_robot, examine_data, mend_data, show_train, start_training,
    pause_training, resume_training, use_trained, show_policy, start_policy, stop_policy,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    fn leaves(value: &toml::Value, path: &str, out: &mut Vec<(String, String)>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    leaves(value, &format!("{path}.{key}"), out);
                }
            }
            other => out.push((path.to_owned(), other.as_str().unwrap().to_owned())),
        }
    }

    fn all(language: Language) -> Vec<(String, String)> {
        let mut out = Vec::new();
        leaves(&toml::Value::try_from(strings(language)).unwrap(), "", &mut out);
        out
    }

    fn places(text: &str) -> BTreeSet<String> {
        text.split('{').skip(1).filter_map(|t| Some(t.split_once('}')?.0.to_owned())).collect()
    }

    #[test]
    fn both_languages_fill_the_same_places() {
        for ((key, english), (other, chinese)) in
            all(Language::English).into_iter().zip(all(Language::Chinese))
        {
            assert_eq!(key, other);
            assert_eq!(places(&english), places(&chinese), "{key}");
            assert!(!english.trim().is_empty() && !chinese.trim().is_empty(), "{key}");
        }
    }

    #[test]
    fn chinese_words_are_chinese() {
        let same: Vec<_> = all(Language::English)
            .into_iter()
            .zip(all(Language::Chinese))
            .filter(|((_, a), (_, b))| a == b && a.chars().any(|c| c.is_ascii_alphabetic()))
            .map(|((key, _), _)| key)
            .collect();
        assert!(same.is_empty(), "{same:?} are not translated");
    }

    #[test]
    fn every_character_of_the_texts_is_in_the_embedded_fonts() {
        let ctx = eframe::egui::Context::default();
        crate::fonts::install(&ctx);
        crate::theme::install(&ctx);
        let mut missing = BTreeSet::new();
        let mut output = ctx.run_ui(Default::default(), |ui| {
            ui.ctx().fonts_mut(|fonts| {
                for language in Language::ALL {
                    for c in all(language).iter().flat_map(|(_, text)| text.chars()) {
                        for family in [eframe::egui::FontFamily::Proportional, crate::theme::semibold()] {
                            if !fonts.has_glyph(&eframe::egui::FontId::new(13.0, family), c) {
                                missing.insert(c);
                            }
                        }
                    }
                }
            });
        });
        output.textures_delta.clear();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_file_has_every_word_and_no_other() {
        let of =
            |text: &str| toml::from_str::<Scenes>(text).map(|s| s.away).map_err(|e| e.message().to_owned());
        let whole = "title = 't'\nleft = 'l'\nright = 'r'\ntoward = 'o'\naway = 'a'\nscene = 's'\n";
        assert_eq!(of(whole), Ok("a".to_owned()));
        assert_eq!(of(&whole.replace("away", "far")), Err("away is missing".to_owned()));
        assert_eq!(of(&format!("{whole}far = 'f'\n")), Err("far is not known".to_owned()));
    }

    #[test]
    fn filling_replaces_every_place() {
        assert_eq!(fill("{n} of {all}, {n}", &[("n", &3), ("all", &"7")]), "3 of 7, 3");
    }

    #[test]
    fn the_locale_chooses_the_language() {
        assert_eq!(Language::of_locale("zh_TW.UTF-8"), Language::Chinese);
        assert_eq!(Language::of_locale("C.UTF-8"), Language::English);
    }
}
