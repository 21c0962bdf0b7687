//! How many CLIs run at once: each takes about 200 MB, so that a fan-out of agents must not take the
//! machine down.

use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What one CLI takes at its peak, bytes; 172 to 206 MB were measured.
const EACH: u64 = 200 << 20;

/// More at once than this gain nothing: starting one takes a second of processor time.
const MOST: u64 = 32;

/// The places for CLIs of one process.
#[derive(Debug, Default)]
pub(super) struct Gate {
    configured: Option<u32>,
    places: OnceLock<(Arc<Semaphore>, u32)>,
}

impl Gate {
    /// So many places; as many as the free memory holds when nothing is configured, which is looked
    /// at when the first CLI starts.
    pub(super) fn new(configured: Option<u32>) -> Self {
        Self {
            configured,
            places: OnceLock::new(),
        }
    }

    /// Waits for a place, first come first served; `waiting` is told how many there are if there is
    /// a wait. `None` only when the gate is closed, which it never is.
    pub(super) async fn enter(
        &self,
        waiting: impl AsyncFnOnce(u32),
    ) -> Option<OwnedSemaphorePermit> {
        let (places, count) = self.places.get_or_init(|| {
            let count = self.configured.unwrap_or_else(|| fitting(free_memory()));
            let count = count.max(1);
            let places = Semaphore::new(usize::try_from(count).unwrap_or(1));
            (Arc::new(places), count)
        });
        if let Ok(place) = Arc::clone(places).try_acquire_owned() {
            return Some(place);
        }
        waiting(*count).await;
        Arc::clone(places).acquire_owned().await.ok()
    }
}

/// How many CLIs fit into so many free bytes, a fifth of which stays free.
fn fitting(free: Option<u64>) -> u32 {
    let free = free.unwrap_or(8 * EACH);
    let count = (free / 5 * 4 / EACH).clamp(1, MOST);
    u32::try_from(count).unwrap_or(1)
}

/// The free memory of this machine, or of the control group where that has less.
fn free_memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = available(&read("/proc/meminfo")?)?;
    let number = |path: &str| -> Option<u64> { read(path)?.trim().parse().ok() };
    let group = number("/sys/fs/cgroup/memory.max")
        .map(|limit| limit.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    Some(group.map_or(machine, |group| group.min(machine)))
}

/// `MemAvailable` of `/proc/meminfo`, bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_fit_into_memory() {
        for (free, count) in [
            (Some(0), 1),
            (Some(300 << 20), 1),
            (Some(1 << 30), 4),
            (Some(4 << 30), 16),
            (Some(1 << 40), 32),
            (None, 6),
        ] {
            assert_eq!(fitting(free), count, "{free:?}");
        }
        let text = "MemTotal:       24689516 kB\nMemFree: 1 kB\nMemAvailable:   23456789 kB\n";
        assert_eq!(available(text), Some(23_456_789 * 1024));
        assert_eq!(available("nothing"), None);
    }

    #[tokio::test]
    async fn the_others_wait_their_turn_and_say_so() {
        let gate = Gate::new(Some(1));
        let first = gate.enter(async |_| panic!("there is a place")).await;
        let mut told = None;
        let second = tokio::time::timeout(
            std::time::Duration::from_millis(1),
            gate.enter(async |places| told = Some(places)),
        );
        assert!(second.await.is_err());
        assert_eq!(told, Some(1));
        drop(first);
        assert!(
            gate.enter(async |_| panic!("there is a place again"))
                .await
                .is_some()
        );
    }
}
