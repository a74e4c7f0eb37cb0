use clap::CommandFactory as _;

use super::*;

fn refused(arguments: &[&str]) -> String {
    let error = Cli::try_parse_from(arguments).expect_err("a usage error");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn what_is_wrong_is_quoted_and_what_is_right_is_said() {
    let words = refused(&["foil", "context", "mara", "--timeout", "abc"]);
    assert!(words.contains("'abc'"), "{words}");
    assert!(
        words.contains("expected a duration like 30s or 2m"),
        "{words}"
    );
    let words = refused(&["foil", "context", "mara", "--strategy", "best"]);
    assert!(
        words.contains("'best'") && words.contains("non-perso"),
        "{words}"
    );
}

#[test]
fn what_is_set_before_the_verb_and_behind_it_adds_up() {
    let read = |arguments: &[&str]| Cli::read(arguments.iter().map(OsString::from));
    let cli = read(&[
        "foil",
        "--set",
        "a.b=1",
        "--set=a.c=2",
        "provision",
        "--json",
        "--set",
        "a.d=3",
        "--set=a.b=4",
    ]);
    let cli = cli.expect("parsed");
    let set = cli
        .global
        .set
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    let expected = [("a.b", "1"), ("a.c", "2"), ("a.d", "3"), ("a.b", "4")];
    assert!(set.eq(expected), "{:?}", cli.global.set);
    assert!(cli.global.json && matches!(cli.verb, Verb::Provision(_)));

    let error = read(&["foil", "provision", "--set"]).expect_err("a usage error");
    assert!(
        error.to_string().contains("a value is required for '--set"),
        "{error}"
    );
    // What stands behind `--` is the verb's own.
    let error = read(&["foil", "provision", "--", "--set", "a.b=1"]).expect_err("a usage error");
    assert!(
        error.to_string().contains("unexpected argument '--set'"),
        "{error}"
    );
}

#[test]
fn help_names_no_default_that_is_none() {
    let mut command = Cli::command();
    for verb in ["context", "generate", "profile", "differences"] {
        let verb = command.find_subcommand_mut(verb).expect("the verb");
        for line in verb.render_long_help().to_string().lines() {
            let sentinel = line.contains("[default: ]") || line.contains("[default: \"\"]");
            assert!(!sentinel, "{line}");
        }
        let user = verb.get_positionals().next().expect("the user");
        assert!(user.get_help().is_some(), "{}", verb.get_name());
    }
    let context = command.find_subcommand_mut("context").expect("the verb");
    let help = context.render_long_help().to_string();
    assert!(
        help.contains("[default: generator.max_tokens, 384]"),
        "{help}"
    );
    assert!(help.contains("- intsum:"), "{help}");
    let tokens = foil_generator::GeneratorConfig::default().max_tokens;
    assert_eq!(tokens, 384);
}

#[test]
fn options_of_every_verb_stand_under_their_own_heading() {
    let mut command = Cli::command();
    command.build();
    for verb in command
        .get_subcommands()
        .filter(|verb| verb.get_name() != "help")
    {
        for name in ["config", "set", "tenant", "json"] {
            let mut arguments = verb.get_arguments();
            let argument = arguments.find(|argument| argument.get_id() == name);
            let heading = argument.expect("a global option").get_help_heading();
            assert_eq!(heading, Some("Global options"), "{}", verb.get_name());
        }
    }
}

#[test]
fn erasing_names_a_user_or_a_whole_tenant_and_not_both() {
    refused(&["foil", "erase"]);
    refused(&["foil", "erase", "mara", "--all-of-tenant", "demo"]);
    refused(&[
        "foil",
        "erase",
        "--record",
        "kettle",
        "--all-of-tenant",
        "demo",
    ]);
    refused(&["foil", "erase", "mara", "--revision", "3"]);
    for right in [
        &["foil", "erase", "mara"][..],
        &[
            "foil",
            "erase",
            "mara",
            "--record",
            "kettle",
            "--revision",
            "3",
        ],
        &["foil", "erase", "--all-of-tenant", "demo"],
    ] {
        assert!(Cli::try_parse_from(right).is_ok(), "{right:?}");
    }
}

#[test]
fn a_tenant_that_is_named_is_the_only_one_that_dead_verbs_touch() {
    for (arguments, only) in [
        (&["foil", "dead", "purge", "--older-than", "0s"][..], false),
        (&["foil", "dead", "purge", "--tenant", "acme"], true),
        (&["foil", "--tenant", "acme", "dead", "redrive"], true),
        (&["foil", "dead", "list", "--this-tenant"], true),
        (&["foil", "dead", "show", "17"], false),
        (&["foil", "dead", "show", "17", "--tenant", "acme"], true),
    ] {
        let cli = Cli::try_parse_from(arguments).expect("parsed");
        let Verb::Dead(verb) = cli.verb else {
            panic!("another verb")
        };
        let verb = verb.within(cli.global.tenant.is_some());
        let (DeadVerb::List(filter)
        | DeadVerb::Show(dead::ShowArgs { filter, .. })
        | DeadVerb::Redrive(dead::RedriveArgs { filter, .. })
        | DeadVerb::Purge(dead::PurgeArgs { filter, .. })) = verb;
        assert_eq!(filter.this_tenant, only, "{arguments:?}");
    }
}
