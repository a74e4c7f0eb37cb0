//! What the processor does, as Linux tells it.

use std::fs;

/// Of `/proc/PID/stat` on Linux, whatever the kernel's own clock.
const TICKS_PER_S: f64 = 100.0;

/// Seconds of processor time that these processes have used.
pub fn seconds_of(pids: impl IntoIterator<Item = u32>) -> f64 {
    let ticks: u64 = pids.into_iter().filter_map(ticks_of).sum();
    ticks as f64 / TICKS_PER_S
}

/// Seconds of processor time that this process and its children have used which have ended.
pub fn seconds_here() -> f64 {
    let own = times(std::process::id()).unwrap_or_default();
    own.iter().sum::<u64>() as f64 / TICKS_PER_S
}

fn ticks_of(pid: u32) -> Option<u64> {
    let [user, system, ..] = times(pid)?;
    Some(user + system)
}

/// As user and as system, and the same of its children that were waited for.
fn times(pid: u32) -> Option<[u64; 4]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?, next()?])
}

/// What the processor calls itself.
pub fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.trim() == "model name");
    found.map_or_else(
        || "unknown".to_owned(),
        |(_, model)| model.trim().to_owned(),
    )
}

/// Processes that want the processor, on average over a minute: of the whole machine.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or(f64::NAN)
}

/// Processors of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows() {
        let own = std::process::id();
        let before = seconds_of([own]);
        let mut sum = 0_u64;
        while seconds_of([own]) < before + 0.05 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        assert!(load() >= 0.0 && cores() >= 1);
    }

    #[test]
    fn the_work_of_a_child_that_has_ended_shows() {
        let before = seconds_here();
        let work = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done";
        let mut child = std::process::Command::new("sh")
            .args(["-c", work])
            .spawn()
            .unwrap();
        let mut most = 0.0_f64;
        while child.try_wait().unwrap().is_none() {
            most = most.max(seconds_of([child.id()]));
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(most > 0.0);
        assert!(seconds_here() >= before + most, "{most}");
    }
}
