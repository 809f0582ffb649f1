//! What the kernel knows of a process: time on a processor, and memory. From `/proc`, so that it is the same for every
//! contender.

use std::{fs, io};

/// Ticks of a second, in which the kernel counts a process's time for others: on x86-64 and ARM alike.
const TICKS: f64 = 100.0;

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) now: f64,
    /// The most that was, since [`forget_peak`].
    pub(crate) peak: f64,
}

/// Seconds of processor time so far, the kernel's work for it included.
pub(crate) fn cpu_seconds(pid: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    cpu_of(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat: {text}")))
}

/// Its memory.
pub(crate) fn memory(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    memory_of(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/status says nothing of memory")))
}

/// Lets the peak of its memory begin anew.
pub(crate) fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// The program's name, which comes before, may hold spaces and brackets.
fn cpu_of(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok().map(f64::from);
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

fn memory_of(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(f64::from(kib) / 1024.0)
    };
    Some(Memory {
        now: field("VmRSS:")?,
        peak: field("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 100";
        assert_eq!(cpu_of(stat), Some(2.0));
        assert_eq!(cpu_of("42 (a) S 1"), None);
    }

    #[test]
    fn memory_is_what_is_and_what_was_resident() {
        let status = "Name:\tx\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\n";
        let expected = Memory { now: 2.0, peak: 4.0 };
        assert_eq!(memory_of(status), Some(expected));
        assert_eq!(memory_of("Name:\tx\n"), None);
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let pid = std::process::id();
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        let memory = memory(pid).unwrap();
        assert!(memory.now > 0.0 && memory.peak >= memory.now / 2.0, "{memory:?}");
    }
}
