"""What the resources of a project are called in an environment, and what a reference to one stands for."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from stepwell.project.project import Environment
from stepwell.project.references import UnknownReference, suggestion


class Names:
    """The names and ARNs of everything a project declares."""

    RESOURCES = ("machines", "functions", "buckets", "tables", "topics", "secrets", "queues")

    def __init__(
        self,
        project: str,
        environment: Environment,
        variables: dict[str, Any],
        sections: dict[str, dict[str, Any]],
        broken: AbstractSet[tuple[str, str]] = frozenset(),
    ) -> None:
        """`broken`: what is declared, but wrongly: a reference to it is no further mistake."""
        self.project = project
        self.environment = environment
        self._variables = variables
        self._sections = sections
        self._broken = broken

    def with_variables(self, variables: dict[str, Any]) -> Names:
        """The same names with further variables; these win over those of the same name."""
        return Names(self.project, self.environment, {**self._variables, **variables}, self._sections, self._broken)

    def keys(self, section: str) -> list[str]:
        """The names in stepwell.toml."""
        return list(self._sections.get(section, {}))

    def declares(self, section: str, key: str) -> bool:
        """Whether something is declared, rightly or wrongly."""
        return key in self._sections.get(section, {}) or (section, key) in self._broken

    def name(self, section: str, key: str) -> str:
        """The name in the environment: the declared one, or one made of the key.

        Machines, functions and secrets are called by their key; the rest have the project before it, buckets, whose names are
        unique in the world, the account behind.
        """
        declared: str | None = getattr(self._sections[section][key], "name", None)
        if declared is not None:
            return declared
        if section in ("machines", "functions", "secrets", "workers"):
            return key
        if section == "buckets":
            return f"{self.project}-{key}-{self.environment.account}"
        return f"{self.project}-{key}"

    def named(self, section: str) -> dict[str, Any]:
        """The declarations of a section with their names filled in."""
        return {
            key: msgspec.structs.replace(declared, name=self.name(section, key))
            for key, declared in self._sections[section].items()
        }

    def look_up(self, reference: str) -> Any:
        """What ``${reference}`` stands for. Raises UnknownReference.

        A machine, function or topic stands for its ARN, a bucket, table or secret for its name, a queue for its URL; ``.arn``
        and ``.name`` behind it say otherwise.
        """
        section, dot, rest = reference.partition(".")
        words = {
            "env": self.environment.name,
            "account": self.environment.account,
            "region": self.environment.region,
            "partition": self.environment.partition,
            "project": self.project,
        }
        if not dot:
            if section in words:
                return words[section]
            if section in self._variables:
                raise UnknownReference(f"${{{reference}}} is not known; write ${{variables.{reference}}}")
            known = [*words, "variables.NAME", *(f"{name}.NAME" for name in self.RESOURCES)]
            raise UnknownReference(f"${{{reference}}} is not known{suggestion(reference, known)}; $${{ stands for ${{")
        if section == "variables":
            if rest in self._variables:
                return self._variables[rest]
            raise UnknownReference(f"${{{reference}}}: there is no variable{suggestion(rest, list(self._variables))}")
        if section not in self.RESOURCES:
            known = ["variables", *self.RESOURCES]
            raise UnknownReference(
                f"${{{reference}}}: there is no section{suggestion(section, known)}; $${{ stands for ${{"
            )
        if any((section, key) in self._broken for key in (rest, rest.rpartition(".")[0])):
            return reference
        key, attribute = rest, ""
        if key not in self._sections.get(section, {}) and rest.endswith((".arn", ".name")):
            key, _, attribute = rest.rpartition(".")
        if key not in self._sections.get(section, {}):
            raise UnknownReference(
                f"${{{reference}}}: there is no [{section}.{key}]{suggestion(key, self.keys(section))}"
            )
        if attribute == "name":
            return self.name(section, key)
        if attribute == "arn" or section in ("machines", "functions", "topics"):
            return self.arn(section, key)
        if section == "queues":
            return self._queue_url(key)
        return self.name(section, key)

    def arn(self, section: str, key: str) -> str:
        """The ARN of a resource."""
        name, environment = self.name(section, key), self.environment
        match section:
            case "machines":
                return environment.arn("states", f"stateMachine:{name}")
            case "functions":
                return environment.arn("lambda", f"function:{name}")
            case "topics":
                return environment.arn("sns", name)
            case "queues":
                return environment.arn("sqs", name)
            case "tables":
                return environment.arn("dynamodb", f"table/{name}")
            case "buckets":
                return environment.arn("s3", name, regional=False)
            case _:
                return environment.arn("secretsmanager", f"secret:{name}")

    def own_metric(self, subject: str, key: str) -> tuple[str, str, str]:
        """Namespace and dimension of AWS's own metrics of a function, machine or queue."""
        if subject == "function":
            return "AWS/Lambda", "FunctionName", self.name("functions", key)
        if subject == "machine":
            return "AWS/States", "StateMachineArn", self.arn("machines", key)
        return "AWS/SQS", "QueueName", self.name("queues", key)

    def resources(self) -> dict[str, Any]:
        """What functions need to know, as `stepwell.toolkit.resources` reads it from STEPWELL_RESOURCES."""
        found: dict[str, Any] = {"project": self.project}
        for section in ("buckets", "tables", "topics", "secrets", "workers"):
            if not self._sections[section]:
                continue
            entries = {}
            for key, declared in self._sections[section].items():
                written = msgspec.json.decode(msgspec.json.encode(declared, enc_hook=int))
                entry = {name: value for name, value in written.items() if value not in (None, [], {}, "")}
                for unneeded in ("description", "lifecycle", "keys", "recovery"):
                    entry.pop(unneeded, None)
                entry["name"] = self.name(section, key)
                if section == "topics":
                    entry["arn"] = self.arn(section, key)
                entries[key] = entry
            found[section] = entries
        return found

    def _queue_url(self, key: str) -> str:
        environment = self.environment
        suffix = "amazonaws.com.cn" if environment.partition == "aws-cn" else "amazonaws.com"
        return f"https://sqs.{environment.region}.{suffix}/{environment.account}/{self.name('queues', key)}"
