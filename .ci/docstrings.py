"""Make docstrings readable for the documentation site: Sphinx roles and single examples."""

import re

import griffe

ROLE = re.compile(r":(?:attr|class|func|meth|mod):`~?(?P<path>[\w.]+)`")
#: The section that Google's style also allows in the singular, and griffe does not know.
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)


class ReadableDocstrings(griffe.Extension):
    """Rewrite ``:class:`~package.Name``` as a link, and ``Example:`` as ``Examples:``."""

    def on_object(self, *, obj: griffe.Object, **_options: object) -> None:
        """Rewrite the docstring of one module, class, function or attribute."""
        if obj.docstring:
            scope = obj.path if obj.is_module else obj.path.rpartition(".")[0]
            text = ROLE.sub(lambda role: link(role, scope), obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub("Examples:", text)


def link(role: re.Match[str], scope: str) -> str:
    """Return the cross-reference for one role.

    A target without an API page is shown as plain code: ``optional`` leaves out the warning.
    """
    path = role["path"]
    target = path if path.startswith("parallelbench") else f"{scope}.{path}"
    name = path.rpartition(".")[2]
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'
