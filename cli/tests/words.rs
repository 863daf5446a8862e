//! The command line as words: help, slips, settings, what a later version brings.

mod common;

use common::Place;

#[test]
fn later_commands_are_refused_by_name() {
    let place = Place::new();
    for name in ["test", "doctor"] {
        for line in [name.to_owned(), format!("{name} x --from start --in-place"), format!("{name} --help")] {
            let said = place.run(&line).bad(2);
            assert!(said.contains(&format!("`millstream {name}` is not supported yet")), "{line}: {said}");
        }
    }
    for how in ["--in-place", "--beside new"] {
        let replay = format!("replay orders --from start {how}");
        assert!(place.run(&replay).bad(2).contains("--to <T>"), "{how}");
        assert!(place.run(&format!("{replay} --to tomorrow")).bad(2).contains("no pipeline `orders`"), "{how}");
    }
    let said = place.run("chekc x").bad(2);
    assert!(said.contains("no command `chekc`") && said.contains("did you mean `millstream check`?"), "{said}");
    assert!(place.run("--help").good().contains("Not supported yet: test, doctor"));
}

#[test]
fn usage_errors_end_with_2_and_help_with_0() {
    let place = Place::new();
    assert!(place.run("produce").bad(2).contains("<TOPIC>"));
    assert!(place.run("").bad(2).contains("Usage"));
    assert!(place.run("consume t --from yesterday").bad(2).contains("`yesterday` is no time"));
    assert!(place.run("produce t --key k").bad(2).contains("write a field as .customer_id"));
    assert!(place.run("produce t --id .i --header ce_id=x").bad(2).contains("sets it too"));
    assert!(place.run("--version").good().starts_with("millstream "));
    for command in ["run", "check", "graph", "produce", "consume", "filters", "schema", "completions"] {
        assert!(place.run(&format!("{command} --help")).good().contains("Usage: millstream"), "{command}");
    }
}

#[test]
fn settings_files_are_checked_at_their_place() {
    let place = Place::new();
    place.file("millstream.yaml", "data_dir: elsewhere\nfsnyc: off\nkafka:\n  group.id: mine\n");
    let said = place.run("filters").bad(2);
    assert!(said.contains("millstream.yaml:2:1: unknown key `fsnyc`; did you mean `fsync`?"), "{said}");
    assert!(said.contains("millstream.yaml:4:3: client property `group.id`"), "{said}");
    place.file("millstream.yaml", "data_dir: elsewhere\nfsync: off\n");
    place.run_with("produce t --create", "x\n").good();
    assert!(place.path().join("elsewhere").is_dir() && !place.path().join(".millstream").exists());
    let seen = place.command(["consume", "t", "--until-end"]).env("MILLSTREAM_DATA_DIR", "third").output();
    assert!(seen.is_ok_and(|o| String::from_utf8_lossy(&o.stderr).contains("there is no log in `third`")));
}

#[test]
fn errors_are_coloured_only_when_asked_here() {
    let place = Place::new();
    assert!(!place.run("filters none-such").bad(2).contains('\x1b'));
    assert!(
        place.run("filters none-such --color always").bad(2).contains("\x1b[1;31merror\x1b[0m: there is no filter")
    );
}

#[test]
fn completions_name_the_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let text = place.run(&format!("completions {shell}")).good();
        assert!(text.contains("consume") && text.contains("until-end"), "{shell}");
    }
    place.run("completions tcsh").bad(2);
}
