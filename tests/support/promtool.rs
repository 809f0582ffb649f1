//! Prometheus' own tests of rules and queries.

use std::path::Path;
use std::process::Command;

use birdwatch_bed::tools::Tools;

/// Has `promtool test rules` go through stories, in a folder with these files beside them.
pub(crate) fn agrees(file_name: &str, stories: &str, beside: &[(&str, &[u8])]) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let promtool = runtime.block_on(Tools::ensure()).unwrap().program("promtool");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("promtool-{file_name}"));
    std::fs::create_dir_all(&dir).unwrap();
    for (name, text) in beside {
        std::fs::write(dir.join(name), text).unwrap();
    }
    std::fs::write(dir.join(file_name), stories).unwrap();
    let output = Command::new(promtool)
        .args(["test", "rules", file_name])
        .current_dir(&dir)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", said.concat());
}
