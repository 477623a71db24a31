//! The `train` example as a program: exit codes, one-line errors before any training, the log's fields, replay bit for
//! bit, the help.
#![cfg(feature = "nn")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The example that this test run built, beside the folder of the test binaries.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().find(|p| p.join("examples").is_dir()).unwrap();
    let program = folder.join("examples").join(format!("train{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: cargo build --example train", program.display());
    program
}

/// Runs it in a folder of its own.
fn train(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).args(args).current_dir(folder).output().unwrap()
}

fn out(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Small runs on loops that every build has.
const SMALL: [&str; 10] =
    ["--backend", "reference", "--arch", "64-8-3", "--batch", "32", "--steps", "4", "--threads", "1"];

fn small(folder: &Path, more: &[&str]) -> Output {
    train(folder, &[&SMALL[..], more].concat())
}

fn events(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Exit code 1, nothing but one line on standard error that holds all of `says`, no log, no plot.
#[track_caller]
fn refused(args: &[&str], folder: &TempDir, says: &[&str]) {
    let (code, stdout, stderr) = out(&train(folder.path(), args));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.trim_end().lines().count() == 1, "{stderr}");
    for part in says {
        assert!(stderr.contains(part), "{stderr} does not say {part:?}");
    }
    let left: Vec<_> = walk(&folder.path().join("runs"));
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map(|entries| entries.map(|e| e.unwrap().path()).collect()).unwrap_or_default()
}

#[test]
fn help_explains_every_option() {
    let folder = tempfile::tempdir().unwrap();
    let (code, help, _) = out(&train(folder.path(), &["--help"]));
    assert_eq!(code, Some(0));
    let options = [
        "--data",
        "--target",
        "--task",
        "--arch",
        "--optimizer",
        "--backend",
        "--dtype",
        "--batch",
        "--seconds",
        "--steps",
        "--seed",
        "--threads",
        "--lr",
        "--damping",
        "--targets",
        "--log",
        "--plot",
        "--quiet",
    ];
    for option in options {
        let start = help.find(&format!("{option} ")).or_else(|| help.find(&format!("{option}\n")));
        let text = &help[start.unwrap_or_else(|| panic!("{option} is not in the help"))..];
        let text = &text[..text.find("\n\n").unwrap_or(text.len())];
        // --quiet is a switch
        assert!(option == "--quiet" || text.contains("[default:"), "{text}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
}

#[test]
fn wrong_arguments_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [
        &["--optimizer", "lbfgs2"][..],
        &["--targets", "low"],
        &["--targets", "4,3,2,1"],
        &["--arch", "64"],
        &["--arch", "64-0-10"],
        &["--batch", "0"],
        &["--steps", "0"],
        &["--seconds", "-1"],
        &["--seconds", "nan"],
        &["--lr", "fast"],
        &["--lr", "0.1,adam=0.2"],
        &["--damping", "0"],
        &["--budget", "1"],
        &["--budget", "nan"],
        &["--budget", "inf"],
        &["--dtype", "f16"],
        &["--nonsense"],
    ] {
        let (code, stdout, stderr) = out(&train(folder.path(), wrong));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{wrong:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

#[test]
fn one_line_for_each_thing_that_cannot_work() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let no = |args: &[&str], says: &[&str]| refused(&[&["--steps", "1"], args].concat(), &folder, says);
    no(&["--data", "missing.csv"], &["missing.csv: no such file or folder"]);
    no(&["--arch", "63-10"], &["--arch 63-10 starts with 63", "64 inputs"]);
    no(&["--task", "classify", "--arch", "64-20-9"], &["ends with 9", "10 outputs"]);
    no(&["--task", "regress"], &["--task regress needs a CSV file"]);
    no(&["--data", "curves", "--task", "classify"], &["the curves have no classes"]);
    no(&["--target", "label"], &["--target names a column of a CSV file"]);
    no(&["--batch", "5000"], &["batch", "5000"]);
    write("empty.csv", b"");
    no(&["--data", "empty.csv"], &["empty.csv: the file is empty"]);
    write("text.csv", b"a,b\n1,2\n3,red\n");
    no(&["--data", "text.csv"], &["text.csv, row 3: column `b` holds `red`"]);
    write("ragged.csv", b"a,b\n1,2\n3\n");
    no(&["--data", "ragged.csv"], &["ragged.csv, row 3: 1 cells"]);
    write("nan.csv", b"a,b\n1,nan\n");
    no(&["--data", "nan.csv"], &["nan.csv, row 2", "not a finite number"]);
    write("few.csv", b"a,b\n1,2\n3,4\n");
    no(&["--data", "few.csv"], &["few.csv: 2 rows are too few"]);
    no(&["--data", "few.csv", "--target", "c"], &["few.csv, row 1: no column is named `c`"]);
    write("half.csv", b"a,b\n1,0.5\n3,4\n");
    no(&["--data", "half.csv", "--task", "classify"], &["half.csv, row 2: class 0.5 is not an integer"]);
    std::fs::create_dir(folder.path().join("idx")).unwrap();
    no(&["--data", "idx"], &["idx: holds neither train-images-idx3-ubyte nor"]);
    write("idx/train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 9]);
    no(&["--data", "idx"], &["train-images-idx3-ubyte: truncated"]);
    no(&["--optimizer", "adam,sgd,adam"], &["--optimizer names adam twice"]);
    no(&["--optimizer", "sgd,marquardt"], &["marquardt needs squared errors"]);
    no(&["--optimizer", "bfgs"], &["bfgs needs at most 4000 parameters"]);
    no(&["--data", "diabetes", "--task", "classify"], &["the diabetes data have no classes"]);
    no(&["--csv", "runs/x", "--plot", "runs/x"], &["--plot and --csv name the same file"]);
    no(&["--log", "runs/x", "--plot", "runs/x"], &["--log and --plot name the same file"]);
    no(&["--log", "few.csv/log.jsonl"], &["few.csv/log.jsonl: cannot be written"]);
    no(&["--plot", "idx"], &["idx: cannot be written: it is a folder"]);
    if cfg!(not(feature = "blas")) {
        no(&["--backend", "openblas"], &["openblas is not compiled in", "--features openblas-system"]);
    }
    if cfg!(not(feature = "faer")) {
        no(&["--backend", "faer"], &["faer is not compiled in", "--features faer"]);
    }
}

/// `Some` where a field is a number.
fn number(event: &Value, field: &str) -> Option<f64> {
    event.get(field).and_then(Value::as_f64)
}

#[test]
fn the_log_the_table_and_the_plot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (code, stdout, stderr) = out(&small(path, &["--seed", "3"]));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    let log = events(&path.join("runs/train.jsonl"));
    let of = |kind: &str| log.iter().filter(|e| e["event"] == kind).collect::<Vec<_>>();
    let start = of("start");
    assert!(start.len() == 1 && log[0] == *start[0]);
    for (field, value) in [
        ("data", Value::from("digits")),
        ("task", "autoencoder".into()),
        ("arch", "64-8-3".into()),
        ("optimizers", vec!["sgd", "adam", "kfac"].into()),
        ("backend", "reference".into()),
        ("dtype", "f32".into()),
        ("threads", 1.into()),
        ("batch", 32.into()),
        ("steps", 4.into()),
        ("seed", 3.into()),
        ("train_cases", 1438.into()),
        ("test_cases", 359.into()),
    ] {
        assert_eq!(start[0][field], value, "{field}");
    }
    assert!(start[0].get("seconds").is_none(), "--steps alone sets no limit on seconds");
    for name in ["sgd", "adam", "kfac"] {
        let steps: Vec<&Value> = of("step").into_iter().filter(|e| e["optimizer"] == name).collect();
        let numbers: Vec<u64> = steps.iter().map(|e| e["step"].as_u64().unwrap()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4], "{name}");
        for step in &steps {
            let found = ["seconds", "passes", "train_loss", "test_loss"].map(|f| number(step, f));
            assert!(found.iter().all(|x| x.is_some_and(|x| x >= 0.0)), "{step}");
            let kfac_moved = name == "kfac" && step["step"] != 0;
            assert_eq!(step.get("lambda").is_some(), kfac_moved, "{step}");
            assert!(kfac_moved || step.get("rho").is_none(), "{step}");
        }
        let end: Vec<&Value> = of("end").into_iter().filter(|e| e["optimizer"] == name).collect();
        assert!(end.len() == 1 && end[0]["steps"] == 4, "{end:?}");
        for field in ["seconds", "passes", "train_loss", "test_loss", "train_error", "test_error"] {
            assert!(number(end[0], field).is_some_and(|x| x > 0.0), "{field}: {}", end[0]);
        }
        assert!(end[0].get("accuracy").is_none() && end[0].get("error").is_none(), "{}", end[0]);
        // the digits are fewer than the sample that losses on the way are taken on
        assert_eq!(end[0]["train_loss"], steps[4]["train_loss"]);
        let line = stdout.lines().find(|line| line.starts_with(name)).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells.len(), cells[1]), (8, "4"), "{line}");
        for (cell, field) in [(4, "train_loss"), (5, "test_loss"), (6, "train_error"), (7, "test_error")] {
            let (shown, logged): (f64, f64) = (cells[cell].parse().unwrap(), number(end[0], field).unwrap());
            assert!((shown / logged - 1.0).abs() <= 1e-4, "{field}: {shown} in the table, {logged} in the log");
        }
    }
    // all start from the same parameters
    let starts: Vec<&Value> = log.iter().filter(|e| e["step"] == 0).map(|e| &e["train_loss"]).collect();
    assert!(starts.len() == 3 && starts.iter().all(|s| *s == starts[0]));
    let svg = std::fs::read_to_string(path.join("runs/train.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for text in ["sgd", "adam", "kfac", "seconds", "steps", "loss"] {
        assert!(svg.contains(text), "{text} is not in the plot");
    }
    assert!(stdout.contains("runs/train.jsonl") && stdout.contains("runs/train.svg"), "{stdout}");
    assert_eq!(walk(&path.join("runs")).len(), 2, "temporary files are gone");
}

/// Every loss of a log, with its bits.
fn losses(file: &Path) -> Vec<(String, String, u64)> {
    let mut all = Vec::new();
    for event in events(file) {
        for field in ["train_loss", "test_loss", "train_error", "test_error", "accuracy", "lambda", "rho"] {
            if let Some(x) = number(&event, field) {
                all.push((event["optimizer"].to_string(), field.to_owned(), x.to_bits()));
            }
        }
    }
    all
}

#[test]
fn the_same_seed_gives_the_same_losses_to_the_last_bit() {
    let folder = tempfile::tempdir().unwrap();
    let run = |log: &str, more: &[&str]| {
        let output = small(folder.path(), &[&["--log", log, "--quiet"], more].concat());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        losses(&folder.path().join(log))
    };
    for dtype in ["f32", "f64"] {
        let first = run("a.jsonl", &["--dtype", dtype]);
        assert!(first.len() >= 3 * (5 * 2 + 4));
        assert_eq!(first, run("b.jsonl", &["--dtype", dtype]));
        assert_ne!(first, run("c.jsonl", &["--dtype", dtype, "--seed", "2"]));
    }
}

#[test]
fn classes_and_values_from_csv() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut text = "x,kind,y\n".to_owned();
    for i in 0..60 {
        let x = i as f64 / 10.0;
        text += &format!("{x},{},{}\n", i % 3, 1000.0 + 500.0 * x);
    }
    std::fs::write(path.join("t.csv"), text).unwrap();
    let run = |more: &[&str]| {
        let steps: &[&str] = if more.contains(&"--steps") { &[] } else { &["--steps", "30"] };
        let args = [&["--data", "t.csv", "--batch", "16", "--backend", "reference"], steps, more].concat();
        let (code, stdout, stderr) = out(&train(path, &args));
        assert_eq!(code, Some(0), "{stderr}");
        let ends: Vec<Value> =
            events(&path.join("runs/train.jsonl")).into_iter().filter(|e| e["event"] == "end").collect();
        (stdout, ends)
    };
    let (stdout, ends) = run(&["--task", "classify", "--target", "kind", "--arch", "2-10-3"]);
    assert!(stdout.contains("accuracy") && stdout.lines().all(|l| l.chars().count() <= 80), "{stdout}");
    assert!(ends.len() == 3 && ends.iter().all(|e| number(e, "accuracy").is_some_and(|a| (0.0..=1.0).contains(&a))));
    // y is a linear function of x: in its own unit kfac's error falls far below y's variance
    const VARIANCE: f64 = 749_792.0;
    let (_, ends) = run(&["--task", "regress", "--optimizer", "kfac"]);
    let error = number(&ends[0], "train_error").unwrap();
    assert!(error > 0.0 && error <= 0.01 * VARIANCE, "{error}");
    // the loss is half the squared error in standard units, while the L2 term is small beside it; the training part's
    // variance is near that of the whole
    let (_, ends) = run(&["--task", "regress", "--optimizer", "adam", "--steps", "1"]);
    let ratio = number(&ends[0], "train_error").unwrap() / number(&ends[0], "train_loss").unwrap();
    assert!((ratio / (2.0 * VARIANCE) - 1.0).abs() <= 0.3, "{ratio}");
    let (_, ends) = run(&["--task", "autoencoder", "--optimizer", "adam", "--lr", "adam=0.01"]);
    assert!(ends.len() == 1 && number(&ends[0], "test_error").is_some());
}

#[test]
fn a_diverging_optimizer_leaves_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--lr", "sgd=1e30", "--optimizer", "sgd,adam"];
    let (code, stdout, stderr) = out(&small(folder.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("sgd stopped early: "), "{stdout}");
    let log = events(&folder.path().join("runs/train.jsonl"));
    let ends: Vec<&Value> = log.iter().filter(|e| e["event"] == "end").collect();
    assert!(ends[0]["error"].is_string() && ends[1].get("error").is_none());
    let (code, _, stderr) = out(&small(folder.path(), &["--lr", "sgd=1e30", "--optimizer", "sgd"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("error: no optimizer came through"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_run_with_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let args = [&SMALL[..6], &["--seconds", "600", "--optimizer", "adam,kfac"]].concat();
    let mut child = Command::new(program());
    child.args(args).current_dir(folder.path()).stdout(std::process::Stdio::piped());
    let child = child.stderr(std::process::Stdio::null()).spawn().unwrap();
    // the handler is in place before the files are; then some steps
    for _ in 0..600 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        if !walk(&folder.path().join("runs")).is_empty() {
            break;
        }
    }
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (code, stdout, _) = out(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{stdout}");
    let log = events(&folder.path().join("runs/train.jsonl"));
    let last = log.last().unwrap();
    assert_eq!(
        (&last["event"], &last["interrupted"], &last["optimizer"]),
        (&"end".into(), &true.into(), &"adam".into())
    );
    assert!(number(last, "steps").is_some_and(|s| s > 0.0));
    assert!(stdout.contains("adam") && !stdout.contains("kfac"), "{stdout}");
    assert!(folder.path().join("runs/train.svg").is_file());
}

/// Half a run, a checkpoint, and the rest of it give the bits of the whole run; so does what is left after a killed save.
#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let folder = TempDir::new().unwrap();
    for optimizer in ["sgd", "adam", "kfac", "kfac-tridiagonal", "spring"] {
        let run = |steps: &str, more: &[&str]| {
            let base =
                ["--backend", "reference", "--arch", "64-8-3", "--batch", "32", "--threads", "1", "--steps", steps];
            let (code, _, stderr) =
                out(&train(folder.path(), &[&base, &["--optimizer", optimizer][..], more].concat()));
            assert_eq!(code, Some(0), "{stderr}");
            losses(&folder.path().join("runs/train.jsonl")).pop().unwrap()
        };
        let whole = run("8", &[]);
        run("5", &["--checkpoint", "half", "--checkpoint-every", "2"]);
        std::fs::write(folder.path().join("half.partial"), b"PULLBACK cut sh").unwrap();
        assert_eq!(run("8", &["--resume", "half"]), whole, "{optimizer}");
    }
    refused(&["--resume", "half"], &TempDir::new().unwrap(), &["one optimizer"]);
}

/// Names in the help of --optimizer, in its order.
fn optimizers(folder: &Path) -> Vec<String> {
    let (_, help, _) = out(&train(folder, &["--help"]));
    let part = &help[help.find("--optimizer").unwrap()..help.find("--backend").unwrap()];
    let rows = part.lines().filter(|line| line.starts_with("            "));
    rows.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

const DIABETES: [&str; 11] =
    ["--data", "diabetes", "--arch", "10-6-1", "--backend", "reference", "--dtype", "f64", "--threads", "1", "--quiet"];

/// The whole family at once: everyone takes its steps, lowers the loss, and has a row everywhere.
#[test]
fn all_of_them_and_the_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let names = optimizers(path);
    assert!(names.len() >= 30, "{names:?}");
    let more = ["--optimizer", "all", "--steps", "6", "--csv", "t.csv", "--log-steps"];
    let (code, stdout, stderr) = out(&train(path, &[&DIABETES[..], &more].concat()));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    let mut rows = csv::Reader::from_path(path.join("t.csv")).unwrap();
    let headers = rows.headers().unwrap().clone();
    let place = |name: &str| headers.iter().position(|h| h == name).unwrap_or_else(|| panic!("no column {name}"));
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let log = events(&path.join("runs/train.jsonl"));
    for name in &names {
        let row = rows.iter().find(|row| &row[place("optimizer")] == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((&row[place("steps")], &row[place("note")]), ("6", ""), "{row:?}");
        let looks = log.iter().filter(|e| e["event"] == "step" && e["optimizer"] == **name);
        let looks: Vec<f64> = looks.map(|e| number(e, "train_loss").unwrap()).collect();
        let best: f64 = row[place("best_train_loss")].parse().unwrap();
        assert!(looks.len() == 7 && best < 0.99 * looks[0], "{name}: {looks:?}");
        assert!((best - looks.iter().copied().fold(f64::INFINITY, f64::min)).abs() <= 1e-6);
        for k in 1..=3 {
            let target: f64 = row[place(&format!("target_{k}"))].parse().unwrap();
            let reached = !row[place(&format!("passes_{k}"))].is_empty();
            assert_eq!(reached, best <= target + 1e-6, "{name}: best {best}, target {target}");
        }
        let reports: Vec<&Value> =
            log.iter().filter(|e| e["event"] == "report" && e["optimizer"] == **name).map(|e| &e["report"]).collect();
        assert_eq!(reports.len(), 6, "{name}");
        assert!(reports.iter().all(|r| r["passes"]["forward"].as_u64() > Some(0)), "{name}: {reports:?}");
        let table = stdout.split("training loss").nth(1).unwrap();
        assert!(table.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name} is not in the table");
    }
    let svg = std::fs::read_to_string(path.join("runs/train.svg")).unwrap();
    assert!(names.iter().all(|name| svg.contains(name.as_str())), "a name is missing in the plot");
}

/// Those that do not fit are left out, with a line that says why.
#[test]
fn what_does_not_fit_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--arch", "64-20-3", "--steps", "1", "--quiet", "--csv", "t.csv", "--targets", "40,30"];
    let args = [&["--backend", "reference", "--optimizer", "all"], &args[..]].concat();
    let (code, stdout, stderr) = out(&train(folder.path(), &args));
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("left out: marquardt needs squared errors"), "{stdout}");
    assert!(stdout.contains("left out: newton-absolute needs at most 1000 parameters"), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80), "{stdout}");
    let csv = std::fs::read_to_string(folder.path().join("t.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + optimizers(folder.path()).len());
    // nor does one that cannot be made cost the others
    let args = ["--optimizer", "sgd,levenberg-marquardt", "--steps", "1", "--damping", "1e30"];
    let (code, stdout, _) = out(&train(folder.path(), &[&DIABETES[..], &args].concat()));
    assert_eq!(code, Some(0), "{stdout}");
    assert!(stdout.contains("\nsgd ") && stdout.contains("left out: levenberg-marquardt failed: "), "{stdout}");
}

/// Saved in the middle and taken up again, every one of them ends with the same bits.
#[test]
fn everyone_resumes_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for name in optimizers(path) {
        let run = |log: &str, more: &[&str]| {
            let args = [&DIABETES[..], &["--optimizer", &name, "--log", log], more].concat();
            let output = train(path, &args);
            assert!(output.status.success(), "{name}: {output:?}");
            losses(&path.join(log)).split_off(losses(&path.join(log)).len() - 4)
        };
        let whole = run("whole.jsonl", &["--steps", "4"]);
        run("first.jsonl", &["--steps", "2", "--checkpoint", "run.bin"]);
        let taken_up = run("second.jsonl", &["--steps", "4", "--resume", "run.bin"]);
        assert_eq!(whole, taken_up, "{name}");
    }
}

/// Growing batches, a falling rate and an average of iterates: each changes the run as it says, and is saved with it.
#[test]
fn schedules_batches_and_averages() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let run = |log: &str, more: &[&str]| {
        let args = [&DIABETES[..], &["--optimizer", "sgd", "--batch", "50", "--log", log], more].concat();
        let output = train(path, &args);
        assert!(output.status.success(), "{output:?}");
        let log = events(&path.join(log));
        let step = |k: u64| log.iter().find(|e| e["event"] == "step" && e["step"] == k).cloned();
        (number(&step(1).unwrap(), "train_loss").unwrap(), number(&step(6).unwrap(), "train_loss").unwrap())
    };
    let plain = run("plain.jsonl", &["--steps", "6"]);
    for (option, value) in [("--grow-batch", "6"), ("--decay", "0.5"), ("--average", "2")] {
        let with = run("with.jsonl", &["--steps", "6", option, value]);
        assert_eq!(with.0, plain.0, "{option}: the first step is that of the plain run");
        assert!(with.1 != plain.1, "{option} changes the run");
        run("half.jsonl", &["--steps", "6", option, value, "--checkpoint", "run.bin"]);
        let again = train(
            path,
            &[
                &DIABETES[..],
                &["--optimizer", "sgd", "--batch", "50", "--steps", "9", option, value, "--resume", "run.bin"],
            ]
            .concat(),
        );
        assert!(again.status.success(), "{again:?}");
        let without = [&DIABETES[..], &["--optimizer", "sgd", "--batch", "50", "--steps", "9", "--resume", "run.bin"]];
        assert_eq!(train(path, &without.concat()).status.code(), Some(1), "{option} belongs to the run");
    }
    // the average lags behind: on the way down its loss is higher
    let averaged = run("average.jsonl", &["--steps", "6", "--average", "0"]);
    assert!(averaged.1 > plain.1, "{averaged:?} {plain:?}");
}
