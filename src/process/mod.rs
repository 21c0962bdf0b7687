//! The only door to child processes: clean environment, own session, capped output, and the end of the
//! whole tree, whatever sessions it fled to.
//!
//! A child that is dropped is killed with all that it started. When this program dies, its children
//! are killed by the kernel; what fled into sessions of its own is found by the marker at the next start
//! ([`Program::end_leftovers`]). Start children from a thread that lives as long as they do: the kernel takes the
//! end of the thread that forked for the end of the parent.

mod child;
mod collect;
mod group;
mod output;
mod registry;
mod signals;
mod table;
mod tree;

pub use child::{Child, Command, Input, command, see_gone};
pub(crate) use collect::collect;
pub use collect::{Caps, Cause, Finished};
pub(crate) use group::can_be_resumed;
pub use output::Kept;
pub use registry::{Fate, Program, after_last_child, before_first_child};
pub(crate) use signals::{by_default, fail_on_large_files};
pub use table::MARKER;
pub(crate) use tree::{Family, descendants, end_descendants};
