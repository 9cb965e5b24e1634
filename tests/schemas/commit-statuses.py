#!/usr/bin/env python3
"""Writes the parts of commit-statuses.json that follow from descriptions of APIs in packages; README.md says from which.

    commit-statuses.py ghes-3.19.json v1_json.tmpl commit-statuses.json
"""

import json
import re
import sys

github, gitea, result = sys.argv[1:]


def reduced(schema, path):
    """The fields with their types and values alone, so that a field with another name is a mistake."""
    fields = {
        name: {key: field[key] for key in ("type", "enum") if key in field}
        for name, field in schema["properties"].items()
    }
    return {
        "path": path,
        "body": {
            "type": "object",
            "properties": fields,
            "required": schema.get("required", []),
            "additionalProperties": False,
        },
    }


with open(result) as file:
    all_parts = json.load(file)

STATUSES = "/repos/{owner}/{repo}/statuses/{sha}"
with open(github) as file:
    api = json.load(file)
body = api["paths"][STATUSES]["post"]["requestBody"]["content"]["application/json"]["schema"]
base = api["servers"][0]["url"].removeprefix("{protocol}://{hostname}")
all_parts["github"] = reduced(body, base + STATUSES)

with open(gitea) as file:
    api = json.loads(re.sub(r"\{\{.*?\}\}", "", file.read()))
parameter = next(it for it in api["paths"][STATUSES]["post"]["parameters"] if it["in"] == "body")
body = api["definitions"][parameter["schema"]["$ref"].rsplit("/", 1)[1]]
all_parts["gitea"] = reduced(body, api["basePath"] + STATUSES)

with open(result, "w") as file:
    json.dump(all_parts, file, indent=2)
    file.write("\n")
