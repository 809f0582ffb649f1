//! Chart and operator speak of the same variables, arguments and files.

use std::collections::BTreeMap;

use birdwatch::cli::settings::{DrainSettings, PrometheusSource, Settings, Surroundings};
use birdwatch::cli::{Cli, Command};
use birdwatch::clients::prometheus::ServerConfig;
use clap::{CommandFactory as _, Parser as _};
use serde_json::Value;

use crate::helm::{Rendered, render};

/// Every value that reaches the operator's environment.
const ALL_SETTINGS: &str = "slackToken: xoxb-1, slackChannel: C1, slackAllowedChannels: ['*', team], \
    slackUrl: 'https://proxy/api', notifyLevel: ends, caFile: {configMap: ca}, namespaces: [shop, pay], \
    scrapeInterval: 500ms, propagationDelay: 1m30s, clusterDomain: corp.local, leaseDuration: 9, logFormat: json, \
    logLevel: debug";

#[test]
fn every_variable_of_the_chart_is_read_by_the_operator() {
    let rendered = render(&format!("{{{ALL_SETTINGS}, prometheusUrl: 'http://p:9090'}}"));
    let servers = render(&format!(
        "{{{ALL_SETTINGS}, prometheus: {{servers: [{{name: a, url: 'http://a'}}]}}}}"
    ));
    for (rendered, pod, subcommand) in [
        (&rendered, 0, "run"),
        (&servers, 0, "run"),
        (&rendered, 1, "drain"),
    ] {
        let known = flags(subcommand);
        for name in environment(rendered, pod).keys() {
            let read_elsewhere = ["SLACK_API_TOKEN", "RUST_LOG"].contains(&name.as_str());
            assert!(
                read_elsewhere || known.contains_key(name),
                "{subcommand} does not read {name}"
            );
        }
    }
}

#[test]
fn the_operator_accepts_what_the_chart_gives_it() {
    for values in [
        "{}".to_owned(),
        format!("{{{ALL_SETTINGS}, prometheusUrl: 'http://p:9090/prefix'}}"),
    ] {
        let rendered = render(&values);
        let Command::Run(run) = parse(&rendered, 0) else {
            panic!("the operator does not run")
        };
        Settings::new(run, Surroundings::default()).unwrap_or_else(|error| panic!("{values}: {error}"));
        let Command::Drain(drain) = parse(&rendered, 1) else {
            panic!("the Job does not drain")
        };
        let drain = DrainSettings::new(drain, Surroundings::default()).unwrap();
        assert_eq!(drain.timeout.as_secs(), 120);
        assert_eq!(drain.run.lease.name, "birdwatch");
    }
}

#[test]
fn the_operator_reads_the_servers_file_of_the_chart() {
    let rendered = render(
        "{prometheusUrl: 'http://p:9090', prometheus: {servers: [\
         {name: a, url: 'https://a/x', headers: {X-Scope-OrgID: '7'}, maxInFlight: 3, enforcedLabel: tenant, \
          bearerToken: {secret: s}, clientCert: {secret: s}, ca: {secret: s}}, \
         {name: b, url: 'http://b', basicAuth: {username: u, secret: s}}]}}",
    );
    let file = rendered.get("ConfigMap", "birdwatch-prometheus")["data"]["servers.yaml"]
        .as_str()
        .unwrap();
    let servers = ServerConfig::list(file).unwrap();
    let names: Vec<_> = servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["default", "a", "b"]);
    assert_eq!(servers[1].max_in_flight, 3);
    assert_eq!(servers[1].enforced_label.as_deref(), Some("tenant"));
    assert!(
        servers[1].bearer_token_file.is_some()
            && servers[1].client_key_file.is_some()
            && servers[1].ca_file.is_some()
    );
    assert_eq!(servers[2].basic_auth.as_ref().unwrap().username, "u");

    let Command::Run(run) = parse(&rendered, 0) else {
        panic!("the operator does not run")
    };
    let settings = Settings::new(run, Surroundings::default()).unwrap();
    assert!(matches!(
        settings.prometheus.source,
        PrometheusSource::ServersFile(_)
    ));
}

/// The command line that the pod's arguments and environment amount to.
pub(crate) fn parse(rendered: &Rendered, pod: usize) -> Command {
    let arguments = rendered.pod_specs()[pod]["containers"][0]["args"]
        .as_array()
        .expect("arguments");
    let mut line = vec!["birdwatch".to_owned()];
    line.extend(
        arguments
            .iter()
            .map(|argument| argument.as_str().expect("text").to_owned()),
    );
    let known = flags(&line[1]);
    for (name, value) in environment(rendered, pod) {
        if let Some(flag) = known.get(&name) {
            line.extend([format!("--{flag}"), value]);
        }
    }
    Cli::try_parse_from(&line)
        .unwrap_or_else(|error| panic!("{line:?}: {error}"))
        .command
}

/// The flags of a subcommand by the variable that each is read from.
fn flags(subcommand: &str) -> BTreeMap<String, String> {
    let cli = Cli::command();
    let command = cli.find_subcommand(subcommand).expect("a subcommand");
    let with_variable = command
        .get_arguments()
        .filter_map(|flag| Some((flag.get_env()?.to_str()?.to_owned(), flag.get_long()?.to_owned())));
    with_variable.collect()
}

/// The variables of a pod, those from the pod's own fields as the kubelet would fill them.
fn environment(rendered: &Rendered, pod: usize) -> BTreeMap<String, String> {
    let variables = rendered.pod_specs()[pod]["containers"][0]["env"]
        .as_array()
        .expect("variables");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let value = |variable: &Value| match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
        Some("metadata.name") => "birdwatch-7d4b9c-x2x4z".to_owned(),
        Some("metadata.namespace") => "operators".to_owned(),
        Some("status.podIP") => "10.1.2.3".to_owned(),
        Some(other) => panic!("{other} is not filled here"),
        None if variable["valueFrom"].is_object() => "from a Secret".to_owned(),
        None => text(&variable["value"]),
    };
    variables
        .iter()
        .map(|variable| (text(&variable["name"]), value(variable)))
        .collect()
}
