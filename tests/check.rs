//! `birdwatch check` as people run it: the built program on files, on a cluster and on a Prometheus, both of which are
//! small servers in this process.
#![expect(clippy::unwrap_used, reason = "a test stops at what it cannot read")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use birdwatch::core::preflight::codes;
use serde_json::{Value, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The program, started where the files are, with nothing of our environment that it reads.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_birdwatch"));
    command
        .current_dir(root().join("tests/check"))
        .arg("check")
        .args(arguments);
    for name in [
        "PROMETHEUS_URL",
        "PROMETHEUS_SERVERS_FILE",
        "SCRAPE_INTERVAL",
        "CLUSTER_DOMAIN",
        "CA_FILE",
        "KUBERNETES_SERVICE_HOST",
    ] {
        command.env_remove(name);
    }
    command.env("KUBECONFIG", "/nonexistent");
    command
}

fn check(arguments: &[&str]) -> (Option<i32>, String, String) {
    said(&program(arguments).output().unwrap())
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The only check of a JSON output, and all of it.
fn as_json(stdout: &str) -> (Value, Value) {
    let all: Value = serde_json::from_str(stdout).unwrap();
    assert_eq!(all["checks"].as_array().unwrap().len(), 1, "{stdout}");
    (all["checks"][0].clone(), all)
}

fn found(check: &Value) -> BTreeSet<String> {
    let findings = check["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap().to_owned())
        .collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn where_nothing_is_wrong_the_last_line_says_what_was_not_looked_at() {
    let (code, stdout, stderr) = check(&["fine.yaml"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert!(stdout.starts_with("BirdWatch store/shop\n"), "{stdout}");
    let last = stdout.lines().last().unwrap();
    assert!(
        last.starts_with("0 errors, 0 warnings, 0 hints; not looked at: "),
        "{last}"
    );
    assert!(last.contains("traffic (give --prometheus)"), "{last}");
}

#[test]
fn findings_are_grouped_by_severity_and_make_the_exit_code_1() {
    let (code, stdout, _) = check(&["broken.yaml"]);
    assert_eq!(code, Some(1), "{stdout}");
    let heads: Vec<_> = stdout
        .lines()
        .filter(|line| line.contains('[') && !line.starts_with(' '))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let mut sorted = heads.clone();
    sorted.sort_by_key(|word| {
        ["error", "warning", "hint"]
            .iter()
            .position(|known| known == word)
    });
    assert_eq!(heads, sorted, "{stdout}");
    assert!(stdout.contains(
        "error [weight-not-zero] VirtualService shop, http[main]\n  what the canary has 10 of 100"
    ));
    assert!(
        stdout
            .lines()
            .all(|line| line.chars().count() <= 110 || line.contains("; not looked at: "))
    );
}

#[test]
fn as_json_it_says_the_same() {
    let (code, stdout, _) = check(&["broken.yaml", "--output", "json"]);
    assert_eq!(code, Some(1));
    let (check, all) = as_json(&stdout);
    let expected = [
        "weight-not-zero",
        "query-grows",
        "range-too-long",
        "retries",
        "canary-too-small",
        "image-mutable",
        "no-sidecar",
        "port-protocol",
        "gateways-without-mesh",
    ];
    assert_eq!(found(&check), set(&expected));
    assert_eq!(all["schema"], 1);
    assert_eq!(all["summary"], json!({"errors": 1, "warnings": 7, "hints": 1}));
    assert_eq!(
        (&check["namespace"], &check["name"]),
        (&json!("default"), &json!("shop"))
    );
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let finding = &check["findings"][0];
    assert_eq!(
        keys(finding),
        set(&["severity", "code", "object", "what", "why", "remedy"])
    );
    assert_eq!(finding["severity"], "error");
    assert_eq!(keys(&check["notLookedAt"][0]), set(&["what", "why"]));
}

#[test]
fn a_spec_that_is_refused_is_all_that_is_said() {
    let (code, stdout, _) = check(&["refused.yaml", "-o", "json"]);
    let (check, _) = as_json(&stdout);
    assert_eq!(
        (code, found(&check)),
        (Some(1), set(&["query-syntax", "spec-invalid"]))
    );
    assert_eq!(check["notLookedAt"][0]["what"], "everything else");
}

#[test]
fn further_files_and_standard_input_are_looked_at_too() {
    let (code, stdout, _) = check(&["fine.yaml", "--file", "second.yaml", "-o", "json"]);
    let (one, _) = as_json(&stdout);
    assert_eq!((code, found(&one)), (Some(1), set(&["second-birdwatch"])));

    let alone = check(&["second.yaml", "-o", "json"]);
    assert_eq!((alone.0, found(&as_json(&alone.1).0)), (Some(0), set(&[])));

    let mut command = program(&["-", "--file", "broken.yaml", "--namespace", "store", "-o", "json"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = std::fs::read(root().join("tests/check/second.yaml")).unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let (code, stdout, _) = said(&child.wait_with_output().unwrap());
    let (one, _) = as_json(&stdout);
    assert_eq!((code, &one["name"]), (Some(1), &json!("shop-again")));
    // Both are in the namespace given, so that the objects of the other file are its own.
    assert!(
        found(&one).contains("second-birdwatch") && found(&one).contains("weight-not-zero"),
        "{one}"
    );
}

#[test]
fn what_else_is_around_is_found_where_it_concerns_the_service() {
    let (code, stdout, _) = check(&["fine.yaml", "--file", "others.yaml", "-o", "json"]);
    let (one, all) = as_json(&stdout);
    let expected = ["no-sidecar", "virtualservices-several", "other-operator"];
    assert_eq!((code, found(&one)), (Some(1), set(&expected)), "{stdout}");
    assert_eq!(
        all["summary"],
        json!({"errors": 1, "warnings": 2, "hints": 0}),
        "{stdout}"
    );
    let of = |code: &str| {
        one["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(|f| f["code"] == code)
            .unwrap()
    };
    assert_eq!(
        of("no-sidecar")["what"],
        "1 of 1 pods run without istio-proxy: shop-v2-a"
    );
    assert_eq!(of("other-operator")["object"], "VirtualService public");
    assert_eq!(
        of("other-operator")["what"],
        "the manager flagger of its fields is a mark of Flagger"
    );
}

#[test]
fn what_cannot_be_checked_makes_the_exit_code_2() {
    for (arguments, says) in [
        (&["nothing.yaml"][..], "no BirdWatch in nothing.yaml"),
        (&["nonesuch.yaml"], "cannot read nonesuch.yaml"),
        (&["../../README.md"], "it is not YAML"),
        (
            &["fine.yaml", "--file", "nonesuch.yaml"],
            "cannot read nonesuch.yaml",
        ),
        (&["shop"], "the cluster cannot be asked"),
        (&["fine.yaml", "--cluster"], "the cluster cannot be asked"),
        (&["fine.yaml", "-o", "xml"], "--output"),
        (&["fine.yaml", "--as-operator", "x"], "--as-operator"),
        (&["fine.yaml", "--prometheus", "ftp://x"], "--prometheus"),
        (&[], "<FILE|NAME>"),
    ] {
        let (code, stdout, stderr) = check(arguments);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_prometheus_that_does_not_answer_makes_the_exit_code_2_and_the_rest_is_shown() {
    let (code, stdout, stderr) = check(&["broken.yaml", "--prometheus", "http://127.0.0.1:9"]);
    assert_eq!(code, Some(2));
    assert!(stdout.contains("[weight-not-zero]"), "{stdout}");
    assert!(stderr.contains("Prometheus cannot be reached"), "{stderr}");
}

/// Serves what `answer` says of a request, on a port of its own; returns its URL.
async fn serve(
    answer: impl Fn(&Method, &Uri, &str) -> Option<Value> + Clone + Send + Sync + 'static,
) -> String {
    let handler = move |method: Method, uri: Uri, body: Bytes| {
        let answer = answer(&method, &uri, &String::from_utf8_lossy(&body));
        let not_found = || {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "none"});
            (StatusCode::NOT_FOUND, axum::Json(status)).into_response()
        };
        let response: Response = answer.map_or_else(not_found, |value| axum::Json(value).into_response());
        std::future::ready(response)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    url
}

async fn run(mut command: Command) -> (Option<i32>, String, String) {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    said(&output.await.unwrap())
}

/// A Prometheus in which every reading is so much, and every rate of requests so much.
fn prometheus(
    reading: &'static str,
    rate: &'static str,
) -> impl Fn(&Method, &Uri, &str) -> Option<Value> + Clone {
    move |_, uri, body| {
        let success = |data: Value| Some(json!({"status": "success", "data": data}));
        let value = if body.contains("response_code") {
            reading
        } else {
            rate
        };
        match uri.path() {
            "/api/v1/query" => {
                success(json!({"resultType": "vector", "result": [{"metric": {}, "value": [0, value]}]}))
            }
            "/api/v1/query_range" => {
                let values: Vec<_> = (0..60).map(|minute| json!([minute * 60, value])).collect();
                success(json!({"resultType": "matrix", "result": [{"metric": {}, "values": values}]}))
            }
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_is_asked_for_readings_their_noise_and_the_traffic() {
    let calm = serve(prometheus("0.1", "100")).await;
    let (code, stdout, stderr) = run(program(&["fine.yaml", "--prometheus", &calm, "-o", "json"])).await;
    let (one, _) = as_json(&stdout);
    assert_eq!(
        (code, found(&one), stderr.as_str()),
        (Some(0), set(&[]), ""),
        "{stdout}"
    );
    let unseen = one["notLookedAt"].as_array().unwrap();
    assert!(
        unseen
            .iter()
            .all(|unseen| unseen["what"] != "traffic" && unseen["what"] != "metric queries")
    );

    // Nothing says which version is production: only a query that names none can be asked.
    for (file, asked) in [("second.yaml", false), ("literal.yaml", true)] {
        let (_, stdout, _) = run(program(&[file, "--prometheus", &calm, "-o", "json"])).await;
        let (one, _) = as_json(&stdout);
        let unseen = one["notLookedAt"].as_array().unwrap();
        let about = |what: &str| unseen.iter().any(|unseen| unseen["what"] == what);
        assert_eq!(
            (about("metric queries"), about("traffic")),
            (!asked, true),
            "{file}: {stdout}"
        );
    }

    let idle = serve(prometheus("0", "0")).await;
    let (code, stdout, _) = run(program(&["fine.yaml", "--prometheus", &idle, "-o", "json"])).await;
    let (one, _) = as_json(&stdout);
    assert_eq!(
        (code, found(&one)),
        (Some(1), set(&["traffic-none", "query-empty"])),
        "{stdout}"
    );
}

/// A cluster that holds the objects of `fine.yaml`, and does not let the operator patch.
fn cluster(objects: Vec<Value>) -> impl Fn(&Method, &Uri, &str) -> Option<Value> + Clone {
    move |method, uri, body| {
        if *method == Method::POST {
            assert_eq!(uri.path(), "/apis/authorization.k8s.io/v1/subjectaccessreviews");
            let mut review: Value = serde_json::from_str(body).unwrap();
            assert_eq!(review["spec"]["user"], "system:serviceaccount:ops:bw");
            review["status"] = json!({"allowed": review["spec"]["resourceAttributes"]["verb"] != "patch"});
            return Some(review);
        }
        let parts: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
        if parts[..] == ["apis", "networking.istio.io", "v1"] {
            let served = |name: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": name, "verbs": []});
            let resources = [served("virtualservices"), served("destinationrules")];
            return Some(
                json!({"kind": "APIResourceList", "groupVersion": "networking.istio.io/v1", "resources": resources}),
            );
        }
        let is_kind = |object: &&Value, plural: &str| {
            let kind = object["kind"].as_str().unwrap().to_lowercase();
            [format!("{kind}s"), format!("{kind}es")]
                .iter()
                .any(|one| one == plural)
        };
        match parts[..] {
            [.., plural @ ("namespaces" | "birdwatches"), name] => {
                let mut of_kind = objects.iter().filter(|object| is_kind(object, plural));
                of_kind.find(|object| object["metadata"]["name"] == name).cloned()
            }
            [.., plural] => {
                let of_kind: Vec<_> = objects.iter().filter(|object| is_kind(object, plural)).collect();
                Some(page(&of_kind, uri.query().unwrap_or_default()))
            }
            [] => None,
        }
    }
}

/// One object of a list, however many were asked for: a server may give fewer, and says how to go on.
fn page(all: &[&Value], query: &str) -> Value {
    assert!(query.contains("limit="), "whatever its size is: {query}");
    let token = query.split('&').find_map(|part| part.strip_prefix("continue="));
    let at: usize = token.map_or(0, |token| token.parse().unwrap());
    let mut list = json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": all.get(at).into_iter().collect::<Vec<_>>()});
    if at + 1 < all.len() {
        list["metadata"]["continue"] = json!((at + 1).to_string());
    }
    list
}

fn documents(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("tests/check").join(file)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// A configuration for a cluster at `url`, in namespace `store`.
fn kubeconfig(url: &str, name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "store"}}],
    });
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_looked_into_by_name_and_the_rights_of_the_operator_are_asked() {
    // What is looked for is on a later page.
    let first = ["VirtualService", "DestinationRule", "Deployment"].map(|kind| {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "another", "namespace": "store"}, "spec": {}})
    });
    let objects = first.into_iter().chain(documents("fine.yaml")).collect();
    let url = serve(cluster(objects)).await;
    let config = kubeconfig(&url, "by-name.json");
    let mut command = program(&["shop", "--as-operator", "ops/bw", "-o", "json"]);
    command.env("KUBECONFIG", &config);
    let (code, stdout, stderr) = run(command).await;
    let (one, all) = as_json(&stdout);
    assert_eq!(
        (code, found(&one)),
        (Some(1), set(&["right-missing"])),
        "{stdout}{stderr}"
    );
    let may_not = |resource: &str| format!("it may not patch {resource} in namespace store");
    assert_eq!(one["findings"][0]["what"], may_not("birdwatches.otomato.link"));
    assert_eq!(all["summary"]["errors"], 4, "{stdout}");
    let unseen = |one: &Value| -> BTreeSet<String> {
        let unseen = one["notLookedAt"].as_array().unwrap().iter();
        unseen
            .map(|unseen| unseen["what"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(unseen(&one), set(&["metric queries", "traffic"]), "{stdout}");

    let mut command = program(&["no-such", "--as-operator", "ops/bw"]);
    command.env("KUBECONFIG", &config);
    let (code, _, stderr) = run(command).await;
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("no BirdWatch \"no-such\" in namespace store"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_stands_before_what_the_cluster_holds() {
    let url = serve(cluster(documents("fine.yaml"))).await;
    let mut command = program(&[
        "broken.yaml",
        "--cluster",
        "--as-operator",
        "ops/bw",
        "-o",
        "json",
    ]);
    command.env("KUBECONFIG", kubeconfig(&url, "with-file.json"));
    let (_, stdout, _) = run(command).await;
    let (one, _) = as_json(&stdout);
    // The file's VirtualService is taken, though the cluster has one of that name without faults.
    assert!(
        found(&one).contains("weight-not-zero") && found(&one).contains("right-missing"),
        "{stdout}"
    );
    assert_eq!(one["namespace"], "store");
}

#[test]
fn the_page_shows_every_code_and_what_is_really_said() {
    let page = std::fs::read_to_string(root().join("docs/check.md")).unwrap();
    let rows: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .collect();
    let all: Vec<_> = codes::ALL
        .iter()
        .map(|code| (code.word, format!("{} |", code.meaning)))
        .collect();
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(word, rest)| (word, rest.to_owned()))
        .collect();
    let table: Vec<_> = all
        .iter()
        .map(|(word, meaning)| format!("| `{word}` | {meaning}"))
        .collect();
    assert_eq!(rows, all, "paste this:\n{}", table.join("\n"));
    let (_, stdout, _) = check(&["broken.yaml"]);
    assert!(page.contains(&stdout), "paste this:\n{stdout}");
    let (_, stdout, _) = check(&["refused.yaml", "-o", "json"]);
    assert!(page.contains(&stdout), "paste this:\n{stdout}");
}

/// A file of that text, in a folder that is the test's own.
fn file(name: &str, text: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("check");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What the three commands that read a file say of it, and whether they could read it.
fn all_three(path: &str) -> [(bool, String); 3] {
    let (code, stdout, stderr) = check(&[path]);
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_birdwatch"));
        command.args(arguments).env_remove("PROMETHEUS_URL");
        said(&command.output().unwrap())
    };
    let simulated = run(&["simulate", path, "--runs", "1"]);
    // It gets as far as what no file here says.
    let replayed = run(&["backtest", path, "--prometheus", "http://127.0.0.1:1"]);
    [
        (code != Some(2), stdout + &stderr),
        (simulated.0 == Some(0), simulated.2),
        (replayed.2.contains("add --production"), replayed.2),
    ]
}

const ONE: &str = "apiVersion: otomato.link/v1alpha1\nkind: BirdWatch\nmetadata:\n  name: shop\n  namespace: store\nspec:\n  \
                   service: shop\n  steps: [{weight: 5, hold: 1m}, {weight: 50, hold: 1m}]\n";

#[test]
fn check_simulate_and_backtest_read_the_same_files() {
    let json = json!({"apiVersion": "otomato.link/v1alpha1", "kind": "BirdWatch", "metadata": {"name": "shop"}, "spec": {"service": "shop", "steps": [{"weight": 50, "hold": "1m"}, {"weight": 60, "hold": "1m"}]}});
    let mut live = json.clone();
    live["metadata"]["managedFields"] = json!([{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]);
    live["metadata"]["creationTimestamp"] = json!("2026-11-21T00:00:00Z");
    live["status"] = json!({"phase": "Idle", "fromTheFuture": 1});
    let list =
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [live]});
    let several = format!("kind: Service\napiVersion: v1\nmetadata: {{name: x}}\n---\n{ONE}---\n");
    for (name, text) in [
        ("one.yaml", ONE.to_owned()),
        ("windows.yaml", format!("\u{feff}{}", ONE.replace('\n', "\r\n"))),
        ("one.json", json.to_string()),
        ("live.json", live.to_string()),
        ("list.json", list.to_string()),
        ("several.yaml", several),
    ] {
        let path = file(name, &text);
        for (read, said) in all_three(&path) {
            assert!(read, "{name}: {said}");
        }
    }
    for (name, text) in [
        ("empty.yaml", ""),
        ("other.yaml", "kind: Service\napiVersion: v1\n"),
    ] {
        for (_, said) in all_three(&file(name, text.replace("v1\n", "apps/v1").as_str())) {
            assert!(said.contains("no BirdWatch in"), "{name}: {said}");
        }
    }
}

#[test]
fn what_no_birdwatch_can_be_is_said_by_all_three() {
    let spelt = |from: &str, to: &str| ONE.replace(from, to);
    for (name, text, code, says) in [
        (
            "field.yaml",
            spelt("steps:", "Steps:"),
            "field-unknown",
            "spec.Steps",
        ),
        (
            "depth.yaml",
            spelt("{weight: 50", "{wieght: 50"),
            "field-unknown",
            "the nearest is weight",
        ),
        (
            "version.yaml",
            spelt("v1alpha1", "v1beta1"),
            "object-invalid",
            "not otomato.link/v1alpha1",
        ),
        (
            "group.yaml",
            spelt("otomato.link/v1alpha1", "flagger.app/v1"),
            "object-invalid",
            "it is flagger.app/v1",
        ),
        (
            "kind.yaml",
            spelt("kind: BirdWatch", "kind: Birdwatch"),
            "object-invalid",
            "not BirdWatch",
        ),
        (
            "name.yaml",
            spelt("name: shop", "name: Not A Name"),
            "object-invalid",
            "\"Not A Name\" is no name",
        ),
        (
            "namespace.yaml",
            spelt("store", "The_Store"),
            "object-invalid",
            "\"The_Store\" is no name",
        ),
        (
            "twice.yaml",
            format!("{ONE}---\n{ONE}"),
            "birdwatch-twice",
            "more than once",
        ),
    ] {
        let path = file(name, &text);
        let (exit, stdout, _) = check(&[&path, "--output", "json"]);
        assert_eq!(exit, Some(1), "{name}");
        assert!(found(&as_json(&stdout).0).contains(code), "{name}: {stdout}");
        let [_, simulated, replayed] = all_three(&path);
        for (read, said) in [simulated, replayed] {
            assert!(!read && said.contains(says), "{name}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_a_birdwatch_names_is_asked_of_a_list() {
    let answers = prometheus("0.1", "100");
    let second = serve(move |method, uri, body| {
        let path = uri.path().strip_prefix("/second")?;
        answers(method, &path.parse().ok()?, body)
    })
    .await;
    let list = format!(
        "- {{name: first, url: \"http://127.0.0.1:9\"}}\n- {{name: second, url: \"{second}/second\"}}\n"
    );
    let list = file("servers.yaml", &list);
    let fine = std::fs::read_to_string(root().join("tests/check/fine.yaml")).unwrap();
    for (server, code, says) in [
        ("second", 0, ""),
        ("first", 2, "Prometheus cannot be reached"),
        (
            "third",
            2,
            "spec.prometheus is third, and the servers file has first, second",
        ),
    ] {
        let named = fine.replace(
            "\n  service: shop\n",
            &format!("\n  service: shop\n  prometheus: {server}\n"),
        );
        let path = file(&format!("{server}.yaml"), &named);
        let asked = run(program(&[
            &path,
            "--prometheus-servers-file",
            &list,
            "-o",
            "json",
        ]))
        .await;
        assert_eq!(asked.0, Some(code), "{server}: {asked:?}");
        let all: Value = serde_json::from_str(&asked.1).unwrap();
        assert!(
            all["error"].as_str().unwrap_or_default().contains(says),
            "{server}: {all}"
        );
    }
    let both = [
        "fine.yaml",
        "--prometheus",
        "http://x",
        "--prometheus-servers-file",
        &list,
    ];
    let (code, _, stderr) = run(program(&both)).await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("give one of the two"), "{stderr}");
}

#[test]
fn as_json_it_says_why_nothing_could_be_checked() {
    for (path, says) in [
        ("nonesuch.yaml", "cannot read nonesuch.yaml"),
        ("nothing.yaml", "no BirdWatch in"),
    ] {
        let (code, stdout, stderr) = check(&[path, "-o", "json"]);
        let all: Value = serde_json::from_str(&stdout).unwrap();
        let error = all["error"].as_str().unwrap();
        assert!(error.contains(says) && stderr.contains(says), "{stdout}");
        assert_eq!(
            (code, &all["schema"], all.get("checks")),
            (Some(2), &json!(1), None)
        );
    }
}

#[test]
fn images_of_containers_that_run_first_are_looked_at_too() {
    let fine = std::fs::read_to_string(root().join("tests/check/fine.yaml")).unwrap();
    let list = "containers: [";
    let first = "initContainers: [{name: migrate, image: \"shop-migrate:latest\"}, {name: istio-init, image: \"proxyv2:latest\"}]\n      ";
    assert!(fine.contains(list), "{fine}");
    let path = file("init.yaml", &fine.replace(list, &format!("{first}{list}")));
    let (_, stdout, _) = check(&[&path]);
    assert!(
        stdout.contains("container migrate") && !stdout.contains("istio-init"),
        "{stdout}"
    );
}
