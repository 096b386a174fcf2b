from pathlib import Path

out = Path("out")
out.mkdir(exist_ok=True)
pages = {path.stem: path.read_text() for path in Path("pages").glob("*.txt")}
for name, text in pages.items():
    (out / f"{name}.html").write_text(f"<!doctype html>\n<title>{name}</title>\n<p>{text}</p>\n")
