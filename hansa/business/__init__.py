"""Services for the owner of a site: what a website business sells, bills and manages."""
