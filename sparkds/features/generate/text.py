"""Text derivations: TF-IDF over hashed or frozen terms, its leading components, and embeddings by a model.

A text is lower-cased and cut at everything that is no letter, mark, digit or underscore of Unicode. A null or empty text holds no term:
its TF-IDF and its components are zero.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from sparkds.declaration import Declaration
from sparkds.errors import ColumnError, ConfigError, DataError
from sparkds.features.generate.derivation import Derivation, Fits, Fitted, Grouped, Output, Sample, State
from sparkds.features.generate.expressions import Inputs, double_sql, lookup_sql, text_sql
from sparkds.features.generate.latent import inverse_document_frequency
from sparkds.sql import quoted

BETWEEN: Final = r"[^\p{L}\p{M}\p{N}_]+"
"""Regular expression (Java's) of what stands between tokens."""
MOST_COLUMNS: Final = 1_000
MOST_ARRAY: Final = 4_096
MOST_TERMS: Final = 10_000
MOST_ENTRIES: Final = 300_000
"""Of a matrix of components: 2.4 MB as doubles, 3.2 MB in the state."""


class Hashing(Declaration):
    """Terms are buckets of tokens; nothing is learned but how frequent a bucket is.

    Attributes
    ----------
    buckets : int
        A token falls into ``pmod(hash(token), buckets)`` (Spark's Murmur3 of the UTF-8 text, seed 42). Tokens that meet in a bucket are
        one term.
    """

    kind: Literal["hashing"] = "hashing"
    buckets: int = Field(ge=2, le=MOST_TERMS, description="number of buckets")

    def terms(self, tokens: str) -> str:
        """SQL of the term of each token, as text."""
        return f"transform({tokens}, t -> cast(pmod(hash(t), {self.buckets}) as string))"

    def numbers(self, tokens: str, state: State) -> str:
        """SQL of the number of each token's term."""
        return f"transform({tokens}, t -> pmod(hash(t), {self.buckets}))"

    @property
    def most(self) -> int:
        """Largest number of terms."""
        return self.buckets

    @property
    def least(self) -> int:
        """Documents that a term must be in."""
        return 1

    def learned(self, found: dict[str, int]) -> dict[str, Any]:
        """Part of the state that says how many documents each term is in."""
        return {"frequency": [found.get(str(bucket), 0) for bucket in range(self.buckets)]}


class Vocabulary(Declaration):
    """Terms are the tokens of the training slice; other tokens are not seen.

    Attributes
    ----------
    most : int
        A larger vocabulary is refused.
    min_documents : int
        Tokens in fewer rows of the training slice are left out.
    """

    kind: Literal["vocabulary"] = "vocabulary"
    most: int = Field(ge=1, le=MOST_TERMS, description="a larger vocabulary is refused")
    min_documents: int = Field(default=2, ge=1, description="tokens in fewer training rows are left out")

    def terms(self, tokens: str) -> str:
        """SQL of the term of each token, as text."""
        return tokens

    def numbers(self, tokens: str, state: State) -> str:
        """SQL of the number of each token's term, in code-point order of the vocabulary; tokens outside it left out."""
        found = lookup_sql("t", {token: str(i) for i, token in enumerate(state["tokens"])}, "int")
        return f"filter(transform({tokens}, t -> {found}), i -> i is not null)"

    @property
    def least(self) -> int:
        """Documents that a term must be in."""
        return self.min_documents

    def learned(self, found: dict[str, int]) -> dict[str, Any]:
        """Part of the state that says how many documents each term is in."""
        tokens = sorted(found)
        return {"tokens": tokens, "frequency": [found[token] for token in tokens]}


class TermDerivation(Derivation):
    """A derivation of the terms of a text column.

    Attributes
    ----------
    column : str
        Of type string.
    features : Hashing or Vocabulary
    norm : {"l2", "none"}
        ``l2``: the weights of a text are divided by their Euclidean length.
    min_token_length : int
        Characters; shorter tokens are left out.
    """

    column: str = Field(min_length=1, description="text column")
    features: Annotated[Hashing | Vocabulary, Field(discriminator="kind")] = Field(description="what the terms are")
    norm: Literal["l2", "none"] = Field(default="l2", description="l2: weights of unit Euclidean length")
    min_token_length: int = Field(default=1, ge=1, description="shorter tokens are left out")

    @property
    def stepped(self) -> bool:
        return True

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def placed(self) -> str:
        """Column in which the step of frames puts what `outputs` reads."""
        return f"__sparkds_text_{self.definition_hash}"

    def check(self, of: Inputs) -> None:
        check_text(self.column, of)

    @property
    def tokens(self) -> str:
        """SQL of the tokens of a row."""
        text = f"lower(coalesce({quoted(self.column)}, ''))"
        return f"filter(split({text}, {text_sql(BETWEEN)}), t -> length(t) >= {self.min_token_length})"

    def fits(self, of: Inputs) -> Fits:
        terms = self.features.terms(self.tokens)
        what = f"vocabulary of '{self.column}'"
        return Fits(groups={"terms": Grouped(f"array_distinct({terms})", {"n": "count(1)"}, self.features.most, what, self.features.least)})

    def state(self, fitted: Fitted) -> State:
        found = {row["key"]: row["n"] for row in fitted.groups["terms"]}
        if not found:
            few = f" in {self.features.least} rows" if self.features.least > 1 else ""
            raise DataError(
                f"'{self.title}': column '{self.column}' has no token{few} in the {fitted.n_rows} training rows; "
                "lower min_documents or min_token_length, or leave the column out"
            )
        return {"documents": fitted.n_rows, **self.features.learned(found)}

    def idf(self, state: State) -> list[float]:
        """Inverse document frequency of each term."""
        return inverse_document_frequency(state["documents"], state["frequency"])


class TfIdf(TermDerivation):
    """TF-IDF of a text column: the count of a term in the text times ``ln((1 + n) / (1 + df)) + 1``.

    n is the number of rows of the training slice, those without text included, and df the number of them that hold the term.

    Attributes
    ----------
    output : {"columns", "array"}
        ``columns``: one double a term, ``{column}_tf_idf_{token}`` or ``{column}_tf_idf_{bucket}``, as models take them; at most 1000.
        ``array``: all of them in ``{column}_tf_idf``, an array of at most 4096 doubles by the terms' numbers.
    """

    kind: Literal["tf_idf"] = "tf_idf"
    output: Literal["columns", "array"] = Field(default="columns", description="one column a term, or one array")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        limit = MOST_COLUMNS if self.output == "columns" else MOST_ARRAY
        if self.features.most > limit:
            raise ValueError(f"{self.features.most} terms are more than the {limit} of output: {self.output}; give fewer, or take text_svd")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        if self.output == "array":
            return (f"{self.column}_tf_idf",)
        if isinstance(self.features, Hashing):
            return tuple(f"{self.column}_tf_idf_{bucket}" for bucket in range(self.features.buckets))
        return ()

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        n, placed = len(state["frequency"]), quoted(self.placed)
        length = "divided by their Euclidean length" if self.norm == "l2" else "not normalised"
        if self.output == "array":
            sql = f"transform(sequence(0, {n - 1}), j -> coalesce(try_element_at({placed}, j), 0D))"
            return (Output(f"{self.column}_tf_idf", "array<double>", f"tf-idf of {n} terms of {self.column}, {length}", sql),)
        terms = state.get("tokens") or range(n)
        return tuple(
            Output(
                f"{self.column}_tf_idf_{term}",
                "double",
                f"tf-idf of the term {term} in {self.column}, weights of a text {length}",
                f"coalesce(try_element_at({placed}, {j}), 0D)",
            )
            for j, term in enumerate(terms)
        )

    def weights(self, numbers: str, state: State) -> tuple[str, str]:
        """SQL of a row's weights as a map of term number to weight, in two steps: the second reads the first as ``{column}``."""
        idf = f"array({', '.join(double_sql(weight) for weight in self.idf(state))})"
        count = f"aggregate({numbers}, 0D, (s, x) -> s + case when x = i then 1D else 0D end)"
        entries = f"transform(array_sort(array_distinct({numbers})), i -> named_struct('i', i, 'w', {count} * get({idf}, i)))"
        length = "sqrt(aggregate({column}, 0D, (s, x) -> s + x.w * x.w))" if self.norm == "l2" else "1D"
        return entries, f"map_from_entries(transform({{column}}, x -> named_struct('i', x.i, 'w', x.w / {length})))"


class TextSvd(TermDerivation):
    """Components of the TF-IDF of a text column by a truncated singular value decomposition (latent semantic analysis).

    Fitted on the driver on a seeded sample of the training slice, applied to every row: ``{column}_svd_{i}``, i from 0 by falling singular
    value. Of each component, the term of the largest size has a weight above zero, so that signs do not flip between fits.

    Attributes
    ----------
    components : int
        At most 300 000 / terms.
    sample_rows : int
        Rows with a term that are decomposed; those with the smallest hash of (seed, `sample_by` or text), or all if there are fewer.
    seed : int
    sample_by : tuple of str
        Columns that name a row; without them, rows of the same text are sampled together.
    """

    kind: Literal["text_svd"] = "text_svd"
    components: int = Field(ge=1, le=300, description="number of components")
    sample_rows: int = Field(default=20_000, ge=10, le=100_000, description="training rows that are decomposed, on the driver")
    seed: int = Field(ge=0, description="of the sample")
    sample_by: tuple[str, ...] = Field(default=(), description="columns that name a row, for the sample; the text if absent")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        entries = self.components * self.features.most
        if entries > MOST_ENTRIES:
            raise ValueError(
                f"{self.components} components of up to {self.features.most} terms are {entries} numbers, more than {MOST_ENTRIES}; "
                "give fewer components or terms"
            )
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.column, *self.sample_by)))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.column}_svd_{i}" for i in range(self.components))

    def check(self, of: Inputs) -> None:
        super().check(of)
        for column in self.sample_by:
            of.category(column)

    def fits(self, of: Inputs) -> Fits:
        by = tuple(of.category(column) for column in self.sample_by or (self.column,))
        terms = self.features.terms(self.tokens)
        return Fits(groups=super().fits(of).groups, samples={"texts": Sample(terms, by, self.sample_rows, self.seed)})

    def state(self, fitted: Fitted) -> State:
        """Vocabulary and components.

        Raises
        ------
        DataError
            No text has a term.
        """
        import numpy as np

        from sparkds.features.generate.latent import as_text, leading_components, weighted_rows

        learned = dict(super().state(fitted))
        told = learned.get("tokens") or [str(bucket) for bucket in range(len(learned["frequency"]))]
        number = {term: i for i, term in enumerate(told)}
        texts = [[number[term] for term in text if term in number] for text in fitted.samples["texts"]]
        starts = np.cumsum([0, *(len(text) for text in texts)])
        term = np.array([i for text in texts for i in text], dtype=np.int64)
        rows = weighted_rows(term, starts, np.array(self.idf(learned)), self.norm == "l2")
        found = leading_components(rows, self.components, self.seed)
        return {
            **learned,
            "sampled_rows": len(texts),
            "singular_values": found.singular_values.tolist(),
            "explained": found.explained,
            "components": as_text(found.vectors),
        }

    def warnings(self, state: State) -> list[str]:
        empty = state["singular_values"].count(0.0)
        if not empty:
            return []
        some = self.components - empty
        return [f"'{self.title}': the sample of {state['sampled_rows']} rows has no more than {some} components; the others are 0"]

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        placed, sizes = quoted(self.placed), state["singular_values"]
        return tuple(
            Output(name, "double", f"component {i} of the tf-idf of {self.column} (singular value {size:.6g})", f"get({placed}, {i})")
            for i, (name, size) in enumerate(zip(self.names, sizes, strict=True))
        )


class Embedding(Derivation):
    """Outputs of an MLflow pyfunc model for a text column, by the scoring path; the version is pinned in the state.

    A null text, and one of nothing but spaces, is zero in every column; a text on which the model fails is null there, so hold the columns
    with `gate`. The model takes one text; it is composed by the feature job, since models are another domain.

    Attributes
    ----------
    model : str
        ``models:/name@alias``, ``models:/name/version``, ``runs:/id/path`` or ``models:/m-id``.
    column : str
        Of type string.
    dimensions : int or tuple of str
        Number of the model's outputs, then named ``{column}_embedding_{i}``, or their names.
    """

    kind: Literal["embedding"] = "embedding"
    model: str = Field(min_length=1, description="models:/name@alias, models:/name/version, runs:/id/path or models:/m-id")
    column: str = Field(min_length=1, description="text column")
    dimensions: Annotated[int, Field(ge=1, le=MOST_ARRAY)] | tuple[str, ...] = Field(description="number of outputs, or their names")

    @property
    def stepped(self) -> bool:
        return True

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def names(self) -> tuple[str, ...]:
        if isinstance(self.dimensions, tuple):
            return self.dimensions
        return tuple(f"{self.column}_embedding_{i}" for i in range(self.dimensions))

    @property
    def text(self) -> str:
        """Column in which the step of frames puts the text that the model takes."""
        return f"__sparkds_text_{self.definition_hash}"

    def scored(self, i: int) -> str:
        """Column in which the step of frames puts an output of the model."""
        return f"__sparkds_out_{self.definition_hash}_{i}"

    def check(self, of: Inputs) -> None:
        check_text(self.column, of)

    @property
    def given(self) -> str:
        return f"the version of model '{self.model}'"

    def fits(self, of: Inputs) -> Fits:
        return Fits(given=self.given)

    def state(self, fitted: Fitted) -> State:
        """Version that the model's address meant.

        Raises
        ------
        ConfigError
            The model does not take one text and give the declared number of outputs.
        """
        told: dict[str, Any] = dict(fitted.given)
        if len(told["inputs"]) != 1 or told["inputs"][0]["type"] != "string":
            shown = ", ".join(f"{one['name']} ({one['type']})" for one in told["inputs"]) or "none"
            raise ConfigError(f"'{self.title}': model {told['uri']} takes {shown}; an embedding gives it one text")
        if len(told["outputs"]) != len(self.names) or any(one["type"] not in ("double", "bigint") for one in told["outputs"]):
            shown = ", ".join(f"{one['name']} ({one['type']})" for one in told["outputs"])
            raise ConfigError(f"'{self.title}': model {told['uri']} gives {shown}; the declaration has {len(self.names)} numbers")
        return told

    def outputs(self, of: Inputs, state: State) -> tuple[Output, ...]:
        blank = f"length(trim({quoted(self.text)})) = 0"
        return tuple(
            Output(
                name,
                "double",
                f"output {one['name']} of {state['uri']} for {self.column}; 0 without text",
                f"case when {blank} then 0D else cast({quoted(self.scored(i))} as double) end",
            )
            for i, (name, one) in enumerate(zip(self.names, state["outputs"], strict=True))
        )


def check_text(column: str, of: Inputs) -> None:
    """Refuse a column that is no text.

    Raises
    ------
    ColumnError
    """
    dtype = of.dtype(column)
    if dtype != "string":
        raise ColumnError(f"column '{column}' in {of.where} has type {dtype}; a text is a string: cast it before, or leave it out")
