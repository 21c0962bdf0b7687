//! What a command may use up before it is ended.

use serde::{Deserialize, Serialize};

/// Caps of one command and everything it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory, summed over its processes; also the cap of one process's data segment.
    pub memory: u64,
    /// Processes and threads at once.
    pub processes: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes by which the disk may fill up.
    pub disk: u64,
    /// Bytes of its private `/tmp`, home and `/dev/shm` together.
    pub temporary: u64,
    /// Open files of one process.
    pub open_files: u64,
    /// Bytes of output kept of each stream: the first half and the last half.
    pub output_kept: usize,
    /// Bytes of output, kept or not, after which the command is ended.
    pub output: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        Self {
            memory: 4 * GIB,
            processes: 512,
            file: 2 * GIB,
            disk: 4 * GIB,
            temporary: GIB,
            open_files: 4096,
            output_kept: 60 << 10,
            output: 512 * MIB,
        }
    }
}
