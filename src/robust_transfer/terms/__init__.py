"""Terms of the loss: one file each, with the spec and what it computes; see docs/terms.md."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model

from robust_transfer.registry import members
from robust_transfer.specs.terms import Term, TermsBase

FORMS = {
    form.__module__.rpartition(".")[2]: form
    for form in sorted(members(__name__, __path__, Term), key=lambda form: (form.rank, form.__module__))
}


def _optional(form: type[Term]) -> Any:
    return form | None, Field(None, description=" ".join((form.__doc__ or "").partition("\n\n")[0].split()))


if TYPE_CHECKING:
    Terms = TermsBase
else:
    fields = {name: _optional(form) for name, form in FORMS.items()}
    Terms = create_model("Terms", __base__=TermsBase, __module__=__name__, __doc__=TermsBase.__doc__, **fields)
    Terms.forms = FORMS
