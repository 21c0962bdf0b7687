use super::*;

/// The check of a line in which `@` stands for a value.
fn checked(line: &str) -> Result<(), Misplaced> {
    check(&line.replace('@', &VALUE.to_string()))
}

#[test]
fn arguments_and_their_parts_are_fine() {
    for line in [
        "",
        "ls",
        "git tag @",
        "git log --grep=@ -- @",
        "cp @ /tmp/@.bak; ls @ && ls @ || ls @ | wc @ &",
        "echo 'a' @ \"b\" '' @",
        r"echo \' @ \\@ a\ #b @",
        "echo it\\'s @ # it's done\nls @",
        "x=@ y=$HOME make @",
        "x=@; echo \"$x\" @",
        "files=(a @ 'b c')\nls @",
        "if test @ = x; then echo @; elif ! grep @ f; then ls @; else ls @; fi",
        "for f in @ b; do ls @; done",
        "for ((i = 0; i < 3; i++)); do ls @; done",
        "case @ in a) ls @;; esac; ls @",
        "while read -r line; do echo \"$line\" @; done < @",
        "ls @ 2>@ >&2 2>&1 &>@ >>@ <<<@",
        "cat <<E > \"$f\"\nit's\nE\nls @",
        "cat <<'E' <<-F\n\"\nE\n\t'\n\tF\nls @",
        "echo \"$(git describe @) ${x:-\"y\"} $((1 + 2))\" @",
        "diff <(ls @) <(ls $'it\\'s' @)",
        "echo ${x#\"'\"} ${y:-'}'} @",
        "echo `echo \"it's\" \\` '` @",
        "[[ @ == x && -f @ || ( a < @ ) ]] && ls @",
        "[[ x -eq 1 ]] && echo @",
        "printf -v x %s; printf %s @; command -v @; command ls @",
        "time -p ls @; exec ls @; f() { ls @; }; (cd @; ls @)",
        "echo $x @ $# @",
        "bash -c 'ls \"$1\"' x @",
        "echo if @; echo then @; function f { ls @; }",
    ] {
        assert_eq!(checked(line), Ok(()), "{line}");
    }
}

#[test]
fn whatever_else_is_refused() {
    use Misplaced::*;
    for (line, expected) in [
        ("echo '@'", Quoted),
        ("echo \"@\"", Quoted),
        ("echo \"a\\\"@\"", Quoted),
        ("echo $'@'", Quoted),
        ("echo $'it\\'s @'", Quoted),
        ("echo $\"@\"", Quoted),
        ("echo \"$(echo '@')\"", Quoted),
        ("echo \"\\@\"", Quoted),
        ("echo '\n' \"\n@", Quoted),
        ("cat <<E\n@\nE", Document),
        ("cat <<'E'\n@\nE", Document),
        ("cat <<E\nE F\n \n@", Document),
        ("cat <<-E\n\tx\n@", Document),
        ("cat <<A <<B\nA\n@", Document),
        ("cat <<@", Document),
        ("ls # @", Comment),
        ("#@", Comment),
        ("ls;#@", Comment),
        ("echo ${x:-@}", Expansion),
        ("echo \"${x:-@}\"", Expansion),
        ("echo $((@))", Expansion),
        ("echo $((1 + (2) + @))", Expansion),
        ("echo $[@]", Expansion),
        ("((@))", Expansion),
        ("for ((i = @;;)); do ls; done", Expansion),
        ("echo `ls @`", Expansion),
        ("echo \"`ls @`\"", Expansion),
        (r"echo \@", Joined),
        ("echo $@", Joined),
        ("@", Command),
        ("@ -l", Command),
        ("./@.sh", Command),
        ("@=1", Command),
        ("a[@]=1", Command),
        ("a=([@]=1)", Command),
        ("x=1 @", Command),
        ("ls; @", Command),
        ("ls | @", Command),
        ("ls &\n@", Command),
        ("(@)", Command),
        ("echo $(@)", Command),
        ("cat <(@)", Command),
        ("if @; then ls; fi", Command),
        ("if ls; then @; fi", Command),
        ("for f in a\ndo @; done", Command),
        ("for f do @; done", Command),
        ("! @", Command),
        ("time -p @", Command),
        ("exec @", Command),
        ("command @", Command),
        ("function f { @; }", Command),
        (">f @", Command),
        ("2>f @", Command),
        ("case x in a) @;; esac", Command),
        ("eval @", Command),
        ("bash -c @", Command),
        ("x=1 sh -c @ y", Command),
        ("eval \"x\" @", Command),
        (". @", Command),
        ("trap @ EXIT", Command),
        ("unset @", Command),
        ("printf -v @ x", Command),
        ("test -v @", Command),
        ("[[ @ -eq 1 ]]", Command),
        ("[[ 1 -eq @ ]]", Command),
        ("[[ a == b && 1 -lt @ ]]", Command),
        ("[[ -v @ ]]", Command),
        ("echo \"$(case x in a) echo \" @ \";; esac)\"", Unclear),
        ("echo \"${x:-'}\" @", Unclear),
        ("echo $((1 # '\n)) @", Unclear),
        ("cat <<$x\n$x\nls @", Unclear),
        ("cat <<E $(ls\nE\n) @", Unclear),
        ("cat <<E 'x\n' @", Unclear),
    ] {
        assert_eq!(checked(line), Err(expected), "{line}");
    }
    let deep = format!("{}'{} @", "$(".repeat(100_000), ")".repeat(100_000));
    assert!(checked(&deep).is_err());
}
