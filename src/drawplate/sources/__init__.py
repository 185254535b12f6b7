"""Sources: what a build starts from, pinned by SHA-256, fetched once and kept in a cache.

A source is plain data. Every kind has `sha256` (see `fetch.fetch`), `license` (an SPDX expression)
and, if wanted, `notes`, `bytes` (size of the download, to refuse a full disk before it starts) and
`files` (globs: which members or files are used).

| kind | further keys |
|---|---|
| `hub` | `repo`, `revision`, `repo_type` (`model`, `dataset`) |
| `folder` | `path` of a folder or of one file |
| `pypi` | `package`, `version` |
| `npm` | `package`, `version` |
| `dvc` | `repo`, `path`, `rev` |
| `mlflow` | `uri` (`models:/...`, `runs:/...`) |
"""
