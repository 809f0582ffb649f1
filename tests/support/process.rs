//! What a process of ours has of the machine's memory, and the environment that the image gives it.

/// What a process (its number, or `self`) has in memory, in bytes: `RssAnon` now, without the program itself, which the kernel
/// reads from its file; `VmHWM` the most that it ever had, with it.
pub(crate) fn taken(process: &str, what: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(what)?.strip_prefix(':'))
        .unwrap();
    line.trim()
        .strip_suffix(" kB")
        .unwrap()
        .trim()
        .parse::<usize>()
        .unwrap()
        << 10
}

/// The environment that the image sets: with the allocator's own number of arenas, each keeps what it had at its fullest.
pub(crate) fn of_the_image() -> Vec<(String, String)> {
    let dockerfile = std::fs::read_to_string("Dockerfile").unwrap();
    let set = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("ENV ")?.split_once('='));
    let set: Vec<_> = set
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    assert!(set.iter().any(|(name, _)| name == "MALLOC_ARENA_MAX"), "{set:?}");
    set
}
