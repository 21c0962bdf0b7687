//! Tasks: steps of agents and commands, as a graph.

mod settings;

pub use settings::{
    ForEach, InputSettings, OnBadVerdict, OnFailure, RepeatSettings, StepSettings, TaskSettings,
    default_step_id,
};
