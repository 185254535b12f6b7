"""The report: one set of facts as JSON, Markdown, HTML, a picture and flat metrics."""
