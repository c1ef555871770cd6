from stepwell.language.diagnostics import (
    CODES,
    DefinitionError,
    Diagnostic,
    errors_of,
    invalid_definition_message,
    location_of,
    pointer_of,
    render,
)

MISSING = Diagnostic(
    "ERROR",
    "MISSING_TRANSITION_TARGET",
    "Missing 'Next' target: B",
    "/States/A/Next",
    "/States/A/Next",
    12,
    7,
    "m.asl.json",
)
WARNING = Diagnostic("WARNING", "NO_DOLLAR", "No .$ ...", "/States/A/Parameters/x", "/States/A/Parameters/x")


def test_paths_are_written_as_aws_does_and_as_json_pointers() -> None:
    path = ("States", "a/b~c", "Choices", 0, "Next")
    assert location_of(path) == "/States/a/b~c/Choices[0]/Next"
    assert pointer_of(path) == "/States/a~1b~0c/Choices/0/Next"
    assert (location_of(()), pointer_of(())) == ("/", "")


def test_a_finding_reads_like_a_compilers() -> None:
    assert str(MISSING) == (
        "m.asl.json:12:7: error MISSING_TRANSITION_TARGET at /States/A/Next: Missing 'Next' target: B"
    )
    assert str(WARNING).startswith("warning NO_DOLLAR at /States/A/Parameters/x: ")


def test_rendering_adds_the_remedy() -> None:
    text = render([MISSING])
    assert text.splitlines() == [str(MISSING), f"    {CODES['MISSING_TRANSITION_TARGET'][1]}"]
    assert str(DefinitionError([MISSING])) == text


def test_the_wire_shape_leaves_out_what_there_is_not() -> None:
    ending = Diagnostic("ERROR", "MISSING_END_STATE", "Workflow has no terminal state")
    assert ending.as_wire() == {
        "severity": "ERROR",
        "code": "MISSING_END_STATE",
        "message": "Workflow has no terminal state",
    }
    assert MISSING.as_wire()["location"] == "/States/A/Next"


def test_the_message_of_invalid_definition_lists_the_errors_only() -> None:
    ending = Diagnostic("ERROR", "MISSING_END_STATE", "Workflow has no terminal state")
    assert errors_of([MISSING, WARNING, ending]) == [MISSING, ending]
    assert invalid_definition_message([MISSING, WARNING, ending], "{}") == (
        "Invalid State Machine Definition: 'MISSING_TRANSITION_TARGET: Missing 'Next' target: B at /States/A/Next, "
        "MISSING_END_STATE: Workflow has no terminal state at null'"
    )


def test_the_message_about_a_label_quotes_the_definition() -> None:
    label = Diagnostic("ERROR", "INVALID_LABEL_NAME", "Label contains invalid character: '['", "/x", "/x")
    assert invalid_definition_message([label], '{"a": 1}') == (
        "Error=ValueError Args=[\"Label contains invalid character: '['\"] in definition '{\"a\": 1}'."
    )
