//! `orch completions`: what clap writes, mended, with the names that only the program knows.

use clap::{CommandFactory, ValueEnum as _};
use clap_complete::Shell;

use crate::cli::Call;
use crate::cli::args::Cli;
use crate::cli::names::{ASK, KINDS};

pub(in crate::cli) fn completions(call: &Call, shell: Shell) -> u8 {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "orch", &mut bytes);
    let script = String::from_utf8_lossy(&bytes);
    call.print(&match shell {
        Shell::Bash => bash(&script),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script),
        _ => script.into_owned(),
    })
}

/// The flags that take a name, each with the kind of name.
fn flags() -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = KINDS.iter();
    kinds.flat_map(|(kind, flags)| flags.iter().map(|flag| (*flag, *kind)))
}

/// The script for bash. What is typed already is given to the program as it stands; names are quoted.
fn bash(script: &str) -> String {
    let mut script = script.to_owned();
    for (flag, kind) in flags() {
        let files = format!(
            "                --{flag})\n                    COMPREPLY=($(compgen -f \"${{cur}}\"))\n"
        );
        let names =
            format!("                --{flag})\n                    _orch_names {kind} \"$1\"\n");
        script = script.replace(&files, &names);
    }
    format!(
        r#"{script}
_orch_names() {{
    local name quoted
    COMPREPLY=()
    while IFS= read -r name; do
        printf -v quoted %q "$name"
        quoted=${{quoted//\\,/,}}
        if [[ $name == "$cur"* || $quoted == "$cur"* ]]; then
            COMPREPLY+=("$quoted")
        fi
    done < <("$2" {ASK} "$1" "${{COMP_WORDS[@]:1}}" 2>/dev/null </dev/null)
}}
"#
    )
}

/// The script for zsh, which asks for words in order: with the `-` of standard input before them, no word is a command.
fn zsh(script: &str) -> String {
    let mut whole = String::new();
    for line in script.split_inclusive('\n') {
        if line.starts_with("'::stdin") {
            continue;
        }
        let named = flags().find(|(flag, _)| line.contains(&format!("--{flag}=[")));
        whole.push_str(&match named {
            Some((_, kind)) => line.replace(":_default'", &format!(":_orch_names {kind}'")),
            None => line.replace("$line[2]", "$line[1]"),
        });
        if line.starts_with("autoload ") {
            whole.push_str(&format!(
                r#"
_orch_names() {{
    local -a names
    names=("${{(@f)$(orch {ASK} $argv[-1] "${{(@)words}}" 2>/dev/null </dev/null)}}")
    compadd "$@[1,-2]" -- "${{(@)names:#}}"
}}
"#
            ));
        }
    }
    whole
}

/// The script for fish, whose parser refuses a line that ends in a flag without its value, and then completes no value.
fn fish(script: &str) -> String {
    const PARSE: &str =
        "    argparse -s (__fish_orch_global_optspecs) -- $cmd 2>/dev/null\n    or return\n";
    const BOTH: &str = "    argparse -s (__fish_orch_global_optspecs) -- $cmd 2>/dev/null\n    \
        or argparse -s (__fish_orch_global_optspecs) -- $cmd[1..-2] 2>/dev/null\n    or return\n";
    let shells: Vec<String> = Shell::value_variants()
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut whole = format!(
        "function __fish_orch_names\n    set -l words (commandline -opc) (commandline -ct)\n    \
         orch {ASK} $argv[1] $words[2..-1] 2>/dev/null </dev/null\nend\n\n"
    );
    for line in script.replace(PARSE, BOTH).split_inclusive('\n') {
        let named = flags().find(|(flag, _)| line.contains(&format!(" -l {flag} -d ")));
        match named {
            Some((_, kind)) => {
                whole.push_str(line.trim_end());
                whole.push_str(&format!(" -f -a \"(__fish_orch_names {kind})\"\n"));
            }
            None => whole.push_str(line),
        }
    }
    whole.push_str(&format!(
        "complete -c orch -n \"__fish_orch_using_subcommand completions\" -f -a \"{}\"\n",
        shells.join(" ")
    ));
    whole
}
