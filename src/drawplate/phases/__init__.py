"""The way into production: four phases, each a page that answers with numbers whether to go on."""
