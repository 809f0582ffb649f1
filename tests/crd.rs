//! x
use birdwatch::cli;
#[test]
fn x() {
    std::fs::write("crds/birdwatches.yaml", cli::crd::yaml()).unwrap();
}
