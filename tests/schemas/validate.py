"""validate.py SCHEMA DOCUMENT [REFERRED...]: prints what of a JSON document is not as its schema says; exits with 1 then."""

import json
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # of RefResolver, which Debian 12 has no successor of

import jsonschema  # noqa: E402


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


schema, document, *referred = map(load, sys.argv[1:])
store = {other["$id"]: other for other in referred}
kind = jsonschema.validators.validator_for(schema)
kind.check_schema(schema)
resolver = jsonschema.RefResolver(schema["$id"], schema, store=store)
errors = list(kind(schema, resolver=resolver, format_checker=jsonschema.FormatChecker()).iter_errors(document))
for error in errors:
    print("/".join(map(str, error.absolute_path)) or "(top)", error.message[:300], sep=": ")
sys.exit(1 if errors else 0)
