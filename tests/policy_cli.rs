//! The `policy` example as a program: exit codes, the table, the log's fields, replay bit for bit, the help.
#![cfg(feature = "nn")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The example that this test run built, beside the folder of the test binaries.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().find(|p| p.join("examples").is_dir()).unwrap();
    let program = folder.join("examples").join(format!("policy{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: cargo build --example policy", program.display());
    program
}

fn policy(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).args(args).current_dir(folder).output().unwrap()
}

fn out(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn events(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn help_explains_every_option() {
    let folder = tempfile::tempdir().unwrap();
    let (code, help, _) = out(&policy(folder.path(), &["--help"]));
    assert_eq!(code, Some(0));
    for option in ["--task", "--algorithm", "--seeds", "--steps", "--threads", "--log", "--plot", "--quick", "--quiet"]
    {
        let start = help.find(&format!("{option} ")).or_else(|| help.find(&format!("{option}\n")));
        let text = &help[start.unwrap_or_else(|| panic!("{option} is not in the help"))..];
        let text = &text[..text.find("\n\n").unwrap_or(text.len())];
        // two are switches
        assert!(option.starts_with("--qui") || text.contains("[default:"), "{text}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
}

#[test]
fn wrong_arguments_exit_with_2_and_what_cannot_work_with_1() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [
        &["--task", "acrobot"][..],
        &["--algorithm", "sac"],
        &["--seeds", "0"],
        &["--steps", "0"],
        &["--threads", "0"],
        &["--nonsense"],
    ] {
        let (code, stdout, stderr) = out(&policy(folder.path(), wrong));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{wrong:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
    for (args, says) in [
        (&["--algorithm", "ppo,trpo,ppo"][..], "names ppo twice"),
        (&["--log", "same", "--plot", "same"], "the same file"),
        (&["--log", "."], "it is a folder"),
    ] {
        let (code, stdout, stderr) = out(&policy(folder.path(), args));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.trim_end().lines().count() == 1, "{stderr}");
        assert!(stderr.contains(says), "{stderr}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left behind");
}

#[test]
fn table_log_and_plot_of_a_small_run() {
    let folder = tempfile::tempdir().unwrap();
    let (code, table, stderr) = out(&policy(folder.path(), &["--steps", "2048", "--seeds", "2", "--quiet"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    for (task, algorithm) in ["cart-pole", "pendulum"].iter().flat_map(|t| ["trpo", "acktr", "ppo"].map(|a| (*t, a))) {
        let row = table.lines().find(|line| line.starts_with(task) && line.contains(&format!(" {algorithm} ")));
        let numbers = row.unwrap_or_else(|| panic!("{task} {algorithm}: {table}")).split_whitespace().skip(2);
        assert_eq!(numbers.filter(|x| x.parse::<f64>().is_ok_and(f64::is_finite)).count(), 6, "{table}");
    }
    let log = events(&folder.path().join("runs/policy.jsonl"));
    let count = |event: &str| log.iter().filter(|e| e["event"] == event).count();
    // 2 tasks, 2 seeds; updates of 2048 steps, and of 512 for acktr
    assert_eq!((count("start"), count("step"), count("end")), (1, 2 * 2 * (1 + 4 + 1), 2 * 2 * 3));
    assert_eq!(log[0]["steps"], 2048);
    for step in log.iter().filter(|e| e["event"] == "step") {
        let divergence = step["divergence"].as_f64().unwrap();
        assert!(divergence >= -1e-12 && (step["algorithm"] != "trpo" || divergence <= 0.0151), "{step}");
        assert!(step["passes"].as_u64().unwrap() > 0 && step["steps"].as_u64().unwrap() <= 2048, "{step}");
    }
    let svg = std::fs::read_to_string(folder.path().join("runs/policy.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("cart-pole") && svg.contains("pendulum"));
    assert_eq!(std::fs::read_dir(folder.path().join("runs")).unwrap().count(), 2, "temporary files are left");
}

#[test]
fn runs_repeat_bit_for_bit_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let run = |threads: &str| {
        let log = format!("{threads}.jsonl");
        let small =
            ["--task", "pendulum", "--steps", "1", "--seeds", "2", "--quiet", "--threads", threads, "--log", &log];
        assert_eq!(out(&policy(folder.path(), &small)).0, Some(0));
        let without = |mut event: Value| {
            let fields = event.as_object_mut().unwrap();
            ["seconds", "threads"].iter().for_each(|name| drop(fields.remove(*name)));
            event
        };
        events(&folder.path().join(log)).into_iter().map(without).collect::<Vec<_>>()
    };
    let (one, two) = (run("1"), run("2"));
    assert!(one.len() == 1 + 6 + 6 && one == two);
}
