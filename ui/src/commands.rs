//! Everything that a person can ask for, as one enum: it drives the palette, the shortcuts, the tooltips, the help
//! sheet and the tests. Widgets send commands; the app carries them out between frames.

use eframe::egui::{Key, KeyboardShortcut, Modifiers};

use crate::i18n::{CommandText, Strings};
use crate::icons::Icon;

/// A command without arguments; see [`crate::message::Message`] for what carries values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter, strum::IntoStaticStr)]
pub enum Command {
    /// Imagine futures from what is set up.
    Imagine,
    /// Stop the running job.
    Cancel,
    /// Keep the futures that are shown in the project.
    SaveFutures,
    /// Draw a new start frame in the virtual world.
    NewWorldFrame,
    /// Choose pictures or a clip to start from.
    OpenFrames,
    /// Start from an episode of a dataset.
    OpenEpisode,
    /// Start from words alone.
    ClearStart,
    /// Start from the frame that is shown of the selected future.
    BranchHere,
    /// Ask a reasoner about the selected future.
    AskReasoner,
    /// Another seed.
    RerollSeed,
    /// One future more.
    MoreFutures,
    /// One future fewer.
    FewerFutures,
    /// All channels follow the start again.
    ResetNumbers,
    /// Take back the last change.
    Undo,
    /// Do it again.
    Redo,
    /// Play or pause.
    TogglePlay,
    /// Next frame.
    StepForward,
    /// Frame before.
    StepBack,
    /// First frame.
    FirstFrame,
    /// Last frame.
    LastFrame,
    /// Loop or stop at the end.
    ToggleLoop,
    /// Play faster.
    Faster,
    /// Play slower.
    Slower,
    /// Show one pane large, or all.
    ToggleMaximise,
    /// The run before.
    PreviousRun,
    /// The run after.
    NextRun,
    /// Soft or crisp pixels.
    ToggleSmooth,
    /// Show what the model takes, gives and knows.
    ShowModel,
    /// Open another project.
    OpenProject,
    /// Go to the World screen.
    ShowWorld,
    /// Go to the Compare screen.
    ShowCompare,
    /// Go to the Robot screen.
    ShowRobot,
    /// Stop the arm. Escape and Space do the same while it is stiff.
    StopRobot,
    /// Go to the Models screen.
    ShowModels,
    /// Lay the futures of the shown run side by side on the Compare screen.
    CompareRun,
    /// Put the selected future into the set of the Compare screen.
    ComparePane,
    /// Select the next pane.
    NextPane,
    /// Select the pane before.
    PreviousPane,
    /// Move the selected pane one place to the left.
    PaneLeft,
    /// Move the selected pane one place to the right.
    PaneRight,
    /// Pin the selected pane, or unpin it.
    PinPane,
    /// Leave the selected pane out of the set's views, or take it in.
    MutePane,
    /// Take the selected pane out of the set.
    RemovePane,
    /// Take all panes out that are not pinned.
    ClearPanes,
    /// Enlarge what all panes show.
    ZoomPanesIn,
    /// Show more of the pictures.
    ZoomPanesOut,
    /// Show the whole pictures.
    ZoomPanesWhole,
    /// Show what lies to the left of the enlarged part.
    PanLeft,
    /// Show what lies to the right of it.
    PanRight,
    /// Show what lies above it.
    PanUp,
    /// Show what lies below it.
    PanDown,
    /// Make the selected pane the first of the pair.
    MarkA,
    /// Make the selected pane the second of the pair.
    MarkB,
    /// The two of the pair change places.
    SwapPair,
    /// Make the two futures that differ most the pair.
    MostDifferent,
    /// All panes side by side.
    LookSide,
    /// The pair along a line.
    LookWipe,
    /// The pair, one shining through the other.
    LookOnion,
    /// What is brighter and what is darker.
    LookSigned,
    /// How large the difference is.
    LookHeat,
    /// The pair in turn.
    LookFlicker,
    /// The mean of the set.
    LookMean,
    /// Where the futures of the set lie apart.
    LookSpread,
    /// The future in the middle of the set.
    LookMedian,
    /// Show the panes of the Compare screen.
    ShowPanes,
    /// Show the tree of futures.
    ShowTree,
    /// Show the sweep.
    ShowSweep,
    /// Show all futures of the project.
    ShowGallery,
    /// Show or hide the numbers under the panes.
    ToggleNumbers,
    /// Put the chosen future of the tree or the gallery into the set.
    AddChosen,
    /// Lay the virtual world beside the selected future.
    AddWorld,
    /// Open what the selected pane shows once more.
    RetryPane,
    /// Imagine from here, otherwise.
    BranchFrom,
    /// Imagine the chosen future again from its record.
    ImagineAgain,
    /// Give the chosen future a name.
    RenameFuture,
    /// Imagine the sweep.
    StartSweep,
    /// Lay the futures of the sweep side by side.
    AddSweep,
    /// Export the panes as a clip, pictures or numbers.
    Export,
    /// Compare futures without their names.
    BlindTest,
    /// The left one is better.
    VoteLeft,
    /// There is no difference.
    VoteTie,
    /// The right one is better.
    VoteRight,
    /// Measure how well the model follows its numbers.
    MeasureFollowing,
    /// Look at recordings.
    ShowData,
    /// Take a dataset into the project.
    ImportData,
    /// Take clips into the project.
    ImportClips,
    /// Record episodes of the virtual world.
    RecordData,
    /// Record episodes that a person shows a connected robot.
    RecordRobot,
    /// Let the doctor look at the shown dataset.
    ExamineData,
    /// Put right what is beyond doubt.
    MendData,
    /// Make a model of one's own.
    ShowTrain,
    /// Start the run that is set up.
    StartTraining,
    /// Stop the shown run; it can go on.
    PauseTraining,
    /// Go on with the shown run.
    ResumeTraining,
    /// Use the shown run's model.
    UseTrained,
    /// Learn, try and improve policies.
    ShowPolicy,
    /// Do what the shown part of the Policy screen is for.
    StartPolicy,
    /// Stop it.
    StopPolicy,
    /// Search all commands.
    Palette,
    /// Keyboard shortcuts.
    Shortcuts,
    /// What has happened so far.
    ToggleLog,
    /// Dark or light.
    ToggleTheme,
    /// English or Chinese.
    ToggleLanguage,
    /// Everything larger.
    ZoomIn,
    /// Everything smaller.
    ZoomOut,
    /// Usual size.
    ZoomReset,
    /// Panels as at the first start.
    ResetLayout,
    /// Close the window.
    Quit,
}

/// A shortcut, and whether it is a bare key (or one with Shift) that text fields and sliders come before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binding {
    /// Keys.
    pub shortcut: KeyboardShortcut,
    /// True for keys that also mean something inside a text field.
    pub bare: bool,
}

const fn with(modifiers: Modifiers, key: Key) -> Binding {
    Binding { shortcut: KeyboardShortcut::new(modifiers, key), bare: false }
}

const fn bare(modifiers: Modifiers, key: Key) -> Binding {
    Binding { shortcut: KeyboardShortcut::new(modifiers, key), bare: true }
}

const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);

impl Command {
    /// Name and explanation in the language of `s`.
    pub fn text(self, s: &Strings) -> &CommandText {
        let c = &s.commands;
        match self {
            Self::Imagine => &c.imagine,
            Self::Cancel => &c.cancel,
            Self::SaveFutures => &c.save_futures,
            Self::NewWorldFrame => &c.new_world_frame,
            Self::OpenFrames => &c.open_frames,
            Self::OpenEpisode => &c.open_episode,
            Self::ClearStart => &c.clear_start,
            Self::BranchHere => &c.branch_here,
            Self::AskReasoner => &c.ask_reasoner,
            Self::RerollSeed => &c.reroll_seed,
            Self::MoreFutures => &c.more_futures,
            Self::FewerFutures => &c.fewer_futures,
            Self::ResetNumbers => &c.reset_numbers,
            Self::Undo => &c.undo,
            Self::Redo => &c.redo,
            Self::TogglePlay => &c.toggle_play,
            Self::StepForward => &c.step_forward,
            Self::StepBack => &c.step_back,
            Self::FirstFrame => &c.first_frame,
            Self::LastFrame => &c.last_frame,
            Self::ToggleLoop => &c.toggle_loop,
            Self::Faster => &c.faster,
            Self::Slower => &c.slower,
            Self::ToggleMaximise => &c.toggle_maximise,
            Self::PreviousRun => &c.previous_run,
            Self::NextRun => &c.next_run,
            Self::ToggleSmooth => &c.toggle_smooth,
            Self::ShowModel => &c.show_model,
            Self::OpenProject => &c.open_project,
            Self::ShowWorld => &c.show_world,
            Self::ShowCompare => &c.show_compare,
            Self::ShowRobot => &c.show_robot,
            Self::StopRobot => &c.stop_robot,
            Self::ShowModels => &c.show_models,
            Self::CompareRun => &c.compare_run,
            Self::ComparePane => &c.compare_pane,
            Self::NextPane => &c.next_pane,
            Self::PreviousPane => &c.previous_pane,
            Self::PaneLeft => &c.pane_left,
            Self::PaneRight => &c.pane_right,
            Self::PinPane => &c.pin_pane,
            Self::MutePane => &c.mute_pane,
            Self::RemovePane => &c.remove_pane,
            Self::ClearPanes => &c.clear_panes,
            Self::ZoomPanesIn => &c.zoom_panes_in,
            Self::ZoomPanesOut => &c.zoom_panes_out,
            Self::ZoomPanesWhole => &c.zoom_panes_whole,
            Self::PanLeft => &c.pan_left,
            Self::PanRight => &c.pan_right,
            Self::PanUp => &c.pan_up,
            Self::PanDown => &c.pan_down,
            Self::MarkA => &c.mark_a,
            Self::MarkB => &c.mark_b,
            Self::SwapPair => &c.swap_pair,
            Self::MostDifferent => &c.most_different,
            Self::LookSide => &c.look_side,
            Self::LookWipe => &c.look_wipe,
            Self::LookOnion => &c.look_onion,
            Self::LookSigned => &c.look_signed,
            Self::LookHeat => &c.look_heat,
            Self::LookFlicker => &c.look_flicker,
            Self::LookMean => &c.look_mean,
            Self::LookSpread => &c.look_spread,
            Self::LookMedian => &c.look_median,
            Self::ShowPanes => &c.show_panes,
            Self::ShowTree => &c.show_tree,
            Self::ShowSweep => &c.show_sweep,
            Self::ShowGallery => &c.show_gallery,
            Self::ToggleNumbers => &c.toggle_numbers,
            Self::AddChosen => &c.add_chosen,
            Self::AddWorld => &c.add_world,
            Self::RetryPane => &c.retry_pane,
            Self::BranchFrom => &c.branch_from,
            Self::ImagineAgain => &c.imagine_again,
            Self::RenameFuture => &c.rename_future,
            Self::StartSweep => &c.start_sweep,
            Self::AddSweep => &c.add_sweep,
            Self::Export => &c.export,
            Self::BlindTest => &c.blind_test,
            Self::VoteLeft => &c.vote_left,
            Self::VoteTie => &c.vote_tie,
            Self::VoteRight => &c.vote_right,
            Self::MeasureFollowing => &c.measure_following,
            Self::ShowData => &c.show_data,
            Self::ImportData => &c.import_data,
            Self::ImportClips => &c.import_clips,
            Self::RecordData => &c.record_data,
            Self::RecordRobot => &c.record_robot,
            Self::ExamineData => &c.examine_data,
            Self::MendData => &c.mend_data,
            Self::ShowTrain => &c.show_train,
            Self::StartTraining => &c.start_training,
            Self::PauseTraining => &c.pause_training,
            Self::ResumeTraining => &c.resume_training,
            Self::UseTrained => &c.use_trained,
            Self::ShowPolicy => &c.show_policy,
            Self::StartPolicy => &c.start_policy,
            Self::StopPolicy => &c.stop_policy,
            Self::Palette => &c.palette,
            Self::Shortcuts => &c.shortcuts,
            Self::ToggleLog => &c.toggle_log,
            Self::ToggleTheme => &c.toggle_theme,
            Self::ToggleLanguage => &c.toggle_language,
            Self::ZoomIn => &c.zoom_in,
            Self::ZoomOut => &c.zoom_out,
            Self::ZoomReset => &c.zoom_reset,
            Self::ResetLayout => &c.reset_layout,
            Self::Quit => &c.quit,
        }
    }

    /// Its shortcuts; the first one is shown.
    pub fn bindings(self) -> Vec<Binding> {
        let none = Modifiers::NONE;
        match self {
            Self::Imagine => vec![with(CTRL, Key::Enter)],
            Self::Cancel => vec![bare(none, Key::Escape)],
            Self::SaveFutures => vec![with(CTRL, Key::S)],
            Self::NewWorldFrame => vec![with(CTRL, Key::N)],
            Self::OpenFrames => vec![with(CTRL, Key::O)],
            Self::OpenEpisode => vec![with(CTRL, Key::E)],
            Self::BranchHere => vec![with(CTRL, Key::B)],
            Self::RerollSeed => vec![with(CTRL, Key::R)],
            Self::Undo => vec![with(CTRL, Key::Z)],
            Self::Redo => vec![with(CTRL_SHIFT, Key::Z), with(CTRL, Key::Y)],
            Self::TogglePlay => vec![bare(none, Key::Space)],
            Self::StepForward => vec![bare(none, Key::ArrowRight)],
            Self::StepBack => vec![bare(none, Key::ArrowLeft)],
            Self::FirstFrame => vec![bare(none, Key::Home)],
            Self::LastFrame => vec![bare(none, Key::End)],
            Self::ToggleLoop => vec![bare(none, Key::L)],
            Self::Faster => vec![bare(none, Key::CloseBracket)],
            Self::Slower => vec![bare(none, Key::OpenBracket)],
            Self::ToggleMaximise => vec![bare(none, Key::F)],
            Self::PreviousRun => vec![with(Modifiers::ALT, Key::ArrowLeft)],
            Self::NextRun => vec![with(Modifiers::ALT, Key::ArrowRight)],
            Self::ShowModel => vec![with(CTRL, Key::I)],
            Self::ShowWorld => vec![with(CTRL, Key::Num1)],
            Self::ShowCompare => vec![with(CTRL, Key::Num2)],
            Self::ShowData => vec![with(CTRL, Key::Num3)],
            Self::ShowTrain => vec![with(CTRL, Key::Num4)],
            Self::ShowPolicy => vec![with(CTRL, Key::Num5)],
            Self::ImportData => vec![with(CTRL_SHIFT, Key::O)],
            Self::ShowRobot => vec![with(CTRL, Key::Num6)],
            Self::ShowModels => vec![with(CTRL, Key::Num7)],
            Self::CompareRun => vec![with(CTRL, Key::D)],
            Self::ComparePane => vec![with(CTRL_SHIFT, Key::D)],
            Self::NextPane => vec![bare(none, Key::ArrowDown)],
            Self::PreviousPane => vec![bare(none, Key::ArrowUp)],
            Self::PaneLeft => vec![with(CTRL, Key::ArrowLeft)],
            Self::PaneRight => vec![with(CTRL, Key::ArrowRight)],
            Self::PinPane => vec![bare(none, Key::P)],
            Self::MutePane => vec![bare(none, Key::M)],
            Self::RemovePane => vec![bare(none, Key::Delete)],
            Self::ZoomPanesIn => vec![bare(none, Key::Plus), bare(none, Key::Equals)],
            Self::ZoomPanesOut => vec![bare(none, Key::Minus)],
            Self::ZoomPanesWhole => vec![bare(none, Key::Num0)],
            Self::PanLeft => vec![bare(Modifiers::SHIFT, Key::ArrowLeft)],
            Self::PanRight => vec![bare(Modifiers::SHIFT, Key::ArrowRight)],
            Self::PanUp => vec![bare(Modifiers::SHIFT, Key::ArrowUp)],
            Self::PanDown => vec![bare(Modifiers::SHIFT, Key::ArrowDown)],
            Self::MarkA => vec![bare(none, Key::A)],
            Self::MarkB => vec![bare(none, Key::B)],
            Self::SwapPair => vec![bare(none, Key::S)],
            Self::MostDifferent => vec![bare(none, Key::D)],
            Self::LookSide => vec![bare(none, Key::Num1)],
            Self::LookWipe => vec![bare(none, Key::Num2)],
            Self::LookOnion => vec![bare(none, Key::Num3)],
            Self::LookSigned => vec![bare(none, Key::Num4)],
            Self::LookHeat => vec![bare(none, Key::Num5)],
            Self::LookFlicker => vec![bare(none, Key::Num6)],
            Self::LookMean => vec![bare(none, Key::Num7)],
            Self::LookSpread => vec![bare(none, Key::Num8)],
            Self::LookMedian => vec![bare(none, Key::Num9)],
            Self::ShowPanes => vec![bare(none, Key::V)],
            Self::ShowTree => vec![bare(none, Key::T)],
            Self::ShowSweep => vec![bare(none, Key::X)],
            Self::ShowGallery => vec![bare(none, Key::G)],
            Self::ToggleNumbers => vec![bare(none, Key::N)],
            Self::AddChosen => vec![bare(none, Key::Enter)],
            Self::AddWorld => vec![bare(none, Key::W)],
            Self::RetryPane => vec![bare(none, Key::R)],
            Self::BranchFrom => vec![with(CTRL_SHIFT, Key::B)],
            Self::ImagineAgain => vec![with(CTRL_SHIFT, Key::R)],
            Self::RenameFuture => vec![bare(none, Key::F2)],
            Self::StartSweep => vec![with(CTRL_SHIFT, Key::Enter)],
            Self::Export => vec![with(CTRL_SHIFT, Key::E)],
            Self::BlindTest => vec![with(CTRL_SHIFT, Key::V)],
            Self::VoteLeft => vec![bare(none, Key::J)],
            Self::VoteTie => vec![bare(none, Key::U)],
            Self::VoteRight => vec![bare(none, Key::K)],
            Self::Palette => vec![with(CTRL_SHIFT, Key::P), with(CTRL, Key::P)],
            Self::Shortcuts => vec![bare(none, Key::F1)],
            Self::ToggleLog => vec![with(CTRL, Key::L)],
            Self::Quit => vec![with(CTRL, Key::Q)],
            // egui itself handles Ctrl with plus, minus and zero.
            Self::ZoomIn
            | Self::ZoomOut
            | Self::ZoomReset
            | Self::StopRobot
            | Self::AddSweep
            | Self::MeasureFollowing
            | Self::ClearPanes
            | Self::ClearStart
            | Self::AskReasoner
            | Self::MoreFutures
            | Self::FewerFutures
            | Self::ResetNumbers
            | Self::ToggleSmooth
            | Self::OpenProject
            | Self::ToggleTheme
            | Self::ToggleLanguage
            | Self::ImportClips
            | Self::RecordData
            | Self::RecordRobot
            | Self::ExamineData
            | Self::MendData
            | Self::StartTraining
            | Self::PauseTraining
            | Self::ResumeTraining
            | Self::UseTrained
            | Self::StartPolicy
            | Self::StopPolicy
            | Self::ResetLayout => Vec::new(),
        }
    }

    /// Icon, for buttons and the palette.
    pub fn icon(self) -> Option<Icon> {
        Some(match self {
            Self::Imagine => Icon::Spark,
            Self::Cancel => Icon::Stop,
            Self::SaveFutures => Icon::Save,
            Self::NewWorldFrame | Self::RerollSeed => Icon::Dice,
            Self::OpenFrames => Icon::Picture,
            Self::OpenEpisode | Self::OpenProject => Icon::Folder,
            Self::ClearStart => Icon::Text,
            Self::MoreFutures => Icon::Plus,
            Self::FewerFutures => Icon::Minus,
            Self::ResetNumbers | Self::ResetLayout => Icon::Refresh,
            Self::Undo => Icon::Undo,
            Self::Redo => Icon::Redo,
            Self::TogglePlay => Icon::Play,
            Self::StepForward | Self::LastFrame => Icon::StepForward,
            Self::StepBack | Self::FirstFrame => Icon::StepBack,
            Self::ToggleLoop => Icon::Loop,
            Self::ToggleMaximise => Icon::Expand,
            Self::PreviousRun => Icon::ChevronLeft,
            Self::NextRun => Icon::ChevronRight,
            Self::ShowModel => Icon::Model,
            Self::ShowWorld => Icon::World,
            Self::ShowCompare => Icon::Compare,
            Self::ShowData => Icon::Data,
            Self::ImportData => Icon::Folder,
            Self::ImportClips => Icon::Picture,
            Self::RecordData => Icon::Record,
            Self::RecordRobot => Icon::Robot,
            Self::ExamineData => Icon::Doctor,
            Self::MendData => Icon::Check,
            Self::ShowTrain | Self::StartTraining => Icon::Train,
            Self::PauseTraining => Icon::Pause,
            Self::ResumeTraining => Icon::Play,
            Self::UseTrained => Icon::Check,
            Self::ShowPolicy | Self::StartPolicy => Icon::Policy,
            Self::StopPolicy => Icon::Stop,
            Self::ShowRobot => Icon::Robot,
            Self::StopRobot => Icon::Stop,
            Self::ShowModels => Icon::Model,
            Self::CompareRun => Icon::Compare,
            Self::ComparePane => Icon::Plus,
            Self::NextPane => Icon::ChevronRight,
            Self::PreviousPane => Icon::ChevronLeft,
            Self::PaneLeft => Icon::ChevronLeft,
            Self::PaneRight => Icon::ChevronRight,
            Self::PinPane => Icon::Pin,
            Self::MutePane => Icon::Mute,
            Self::RemovePane => Icon::Trash,
            Self::ClearPanes => Icon::Trash,
            Self::ZoomPanesIn => Icon::Plus,
            Self::ZoomPanesOut => Icon::Minus,
            Self::ZoomPanesWhole => Icon::Expand,
            Self::SwapPair => Icon::Swap,
            Self::MostDifferent => Icon::Spark,
            Self::LookSide => Icon::Grid,
            Self::ShowPanes => Icon::Grid,
            Self::ShowTree => Icon::Branch,
            Self::ShowSweep => Icon::Sliders,
            Self::ShowGallery => Icon::Picture,
            Self::ToggleNumbers => Icon::Curve,
            Self::AddChosen => Icon::Compare,
            Self::AddWorld => Icon::World,
            Self::RetryPane => Icon::Refresh,
            Self::BranchFrom => Icon::Branch,
            Self::ImagineAgain => Icon::Refresh,
            Self::RenameFuture => Icon::Pencil,
            Self::StartSweep => Icon::Spark,
            Self::AddSweep => Icon::Compare,
            Self::Export => Icon::Export,
            Self::BlindTest => Icon::Vote,
            Self::MeasureFollowing => Icon::Curve,
            Self::Palette => Icon::Search,
            Self::Shortcuts => Icon::Info,
            Self::ToggleLog => Icon::Log,
            Self::ToggleTheme => Icon::Sun,
            Self::ToggleLanguage => Icon::World,
            Self::BranchHere => Icon::Curve,
            Self::AskReasoner => Icon::Info,
            Self::Faster
            | Self::VoteLeft
            | Self::VoteTie
            | Self::VoteRight
            | Self::PanLeft
            | Self::PanRight
            | Self::PanUp
            | Self::PanDown
            | Self::MarkA
            | Self::MarkB
            | Self::LookWipe
            | Self::LookOnion
            | Self::LookSigned
            | Self::LookHeat
            | Self::LookFlicker
            | Self::LookMean
            | Self::LookSpread
            | Self::LookMedian
            | Self::Slower
            | Self::ToggleSmooth
            | Self::ZoomIn
            | Self::ZoomOut
            | Self::ZoomReset
            | Self::Quit => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::i18n::{Language, strings};
    use std::collections::HashMap;
    use strum::IntoEnumIterator;

    #[test]
    fn no_two_commands_share_a_shortcut() {
        let mut seen: HashMap<String, Command> = HashMap::new();
        for command in Command::iter() {
            for binding in command.bindings() {
                let before = seen.insert(format!("{:?}", binding.shortcut), command);
                assert_eq!(before, None, "{command:?} shares {:?}", binding.shortcut);
            }
        }
    }

    #[test]
    fn bare_keys_are_marked() {
        for binding in Command::iter().flat_map(Command::bindings) {
            let m = binding.shortcut.modifiers;
            assert_eq!(binding.bare, !(m.alt || m.ctrl || m.command), "{binding:?}");
        }
    }

    #[test]
    fn every_command_has_its_own_name_and_an_explanation_in_both_languages() {
        for language in Language::ALL {
            let mut names = std::collections::HashSet::new();
            for command in Command::iter() {
                let text = command.text(strings(language));
                assert!(names.insert(text.name.clone()), "{:?} appears twice", text.name);
                assert!(text.tip.len() > 5, "{command:?}");
                assert!(!text.name.ends_with('.'), "{:?}: no full stop on a button", text.name);
            }
        }
    }
}
