//! Python: how it is started, on which version.

use super::{Texts, base, plan, refusal, started};
use crate::plan::{Build, Plan, PythonBuild};

#[track_caller]
fn python(plan: &Plan) -> &PythonBuild {
    match &plan.build {
        Build::Python(build) => build,
        build => panic!("{build:?}"),
    }
}

const MANAGE: (&str, &str) =
    ("manage.py", "import os\n    os.environ.setdefault(\"DJANGO_SETTINGS_MODULE\", \"shop.settings\")\n");

#[test]
fn django_is_started_by_the_module_that_its_settings_name() {
    let files: Texts = &[
        MANAGE,
        ("requirements.txt", "Django==5.1\n"),
        ("shop/settings.py", "WSGI_APPLICATION = 'shop.wsgi.application'\nSTATIC_ROOT = BASE / 'static'\n"),
        ("shop/wsgi.py", "application = get_wsgi_application()\n"),
    ];
    let found = plan(files);
    assert_eq!(started(&found), "python -m gunicorn shop.wsgi:application");
    assert_eq!(found.processes["web"].decided_by, "the settings that manage.py names");
    assert_eq!(python(&found).more, ["gunicorn"]);
    let collect = "SECRET_KEY=only-for-collectstatic DJANGO_SECRET_KEY=only-for-collectstatic python manage.py \
                   collectstatic --noinput";
    assert_eq!(python(&found).then, [collect]);
}

#[test]
fn django_without_a_said_application_is_started_by_the_nearest_wsgi() {
    for (module, wsgi, started_by) in [
        ("shop.settings", "shop/wsgi.py", "shop.wsgi:application"),
        ("shop.settings.production", "shop/wsgi.py", "shop.wsgi:application"),
        ("config.settings", "config/wsgi.py", "config.wsgi:application"),
        ("settings", "wsgi.py", "wsgi:application"),
    ] {
        let manage = format!("os.environ.setdefault('DJANGO_SETTINGS_MODULE', '{module}')\n");
        let found = plan(&[("manage.py", &manage), ("requirements.txt", "django\ngunicorn\n"), (wsgi, "")]);
        assert_eq!(started(&found), format!("python -m gunicorn {started_by}"), "{module}");
        assert!(python(&found).then.is_empty() && python(&found).more.is_empty(), "{module}");
    }
    let base_settings = [
        ("manage.py", "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings.dev')\n"),
        ("requirements.txt", "django\n"),
        ("shop/settings/base.py", "WSGI_APPLICATION = \"other.wsgi.app\"\n"),
        ("shop/settings/dev.py", "from .base import *\n"),
        ("other/wsgi.py", ""),
    ];
    assert_eq!(started(&plan(&base_settings)), "python -m gunicorn other.wsgi:app");
}

#[test]
fn applications_are_found_where_they_are_made() {
    let cases: &[(Texts, &str, &[&str])] = &[
        (
            &[("main.py", "from fastapi import FastAPI\n\napp = FastAPI()\n")],
            "sh: exec python -m uvicorn main:app --host 0.0.0.0 --port $PORT",
            &["uvicorn"],
        ),
        (
            &[("app/main.py", "import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI(title='x')\n")],
            "sh: exec python -m uvicorn app.main:api --host 0.0.0.0 --port $PORT",
            &["uvicorn"],
        ),
        (
            &[("src/shop/main.py", "app = FastAPI()\n")],
            "sh: exec python -m uvicorn shop.main:app --app-dir src --host 0.0.0.0 --port $PORT",
            &["uvicorn"],
        ),
        (
            &[("asgi.py", "app = Starlette(routes=[])\n")],
            "sh: exec python -m uvicorn asgi:app --host 0.0.0.0 --port $PORT",
            &["uvicorn"],
        ),
        (&[("app.py", "app = Flask(__name__)\n")], "python -m gunicorn app:app", &["gunicorn"]),
        (
            &[(
                "shop/__init__.py",
                "from flask import Flask\ndef create_app():\n    app = Flask(__name__)\n    return app\n",
            )],
            "python -m gunicorn shop:create_app()",
            &["gunicorn"],
        ),
        (
            &[
                ("wsgi.py", "from shop import create_app\napplication = create_app()\n"),
                ("shop/__init__.py", "import flask\ndef create_app():\n"),
            ],
            "python -m gunicorn wsgi:application",
            &["gunicorn"],
        ),
        (
            &[("src/shop/app.py", "server = flask.Flask('x')\n")],
            "python -m gunicorn --pythonpath src shop.app:server",
            &["gunicorn"],
        ),
        // What only tests make is no application; what only looks like one is none.
        (
            &[("tests/app.py", "app = Flask(__name__)\n"), ("main.py", "# app = FastAPI()\nmy = NotFastAPI()\n")],
            "python main.py",
            &[],
        ),
        (&[("app.py", "print(1)\n")], "python app.py", &[]),
    ];
    for (files, command, more) in cases {
        let found = plan(&[*files, &[("requirements.txt", "x\n")]].concat());
        assert_eq!(started(&found), *command, "{files:?}");
        assert_eq!(python(&found).more, *more, "{files:?}");
    }
}

#[test]
fn a_listed_server_is_not_asked_for_again() {
    let of = |requirements| {
        let app = ("main.py", "app = FastAPI()\n");
        python(&plan(&[app, ("requirements.txt", requirements)])).more.clone()
    };
    assert!(of("fastapi\nuvicorn[standard]>=0.30\n").is_empty());
    assert!(of("FastAPI[standard]>=0.115 # with uvicorn\n").is_empty());
    assert_eq!(of("fastapi\nuvicorn-worker\n"), ["uvicorn"]);
}

#[test]
fn which_python() {
    let of = |files: Texts| base(&plan(&[&[("main.py", "")][..], files].concat())).to_owned();
    assert_eq!(of(&[]), "python:3.13-slim");
    assert_eq!(of(&[(".python-version", "# pyenv\n3.12\n"), ("runtime.txt", "python-3.10.1")]), "python:3.12-slim");
    assert_eq!(of(&[("runtime.txt", "python-3.11.9\n")]), "python:3.11.9-slim");
    assert_eq!(of(&[("pyproject.toml", "[project]\nrequires-python = '>=3.9,<3.12'\n")]), "python:3.11-slim");
    assert_eq!(of(&[("pyproject.toml", "[tool.poetry.dependencies]\npython = '~3.10'\n")]), "python:3.10-slim");
    assert_eq!(of(&[("Pipfile", "[requires]\npython_version = '3.12'\n")]), "python:3.12-slim");
    assert_eq!(
        refusal(&[("main.py", ""), (".python-version", "2.7.18")]),
        ".python-version says \"2.7.18\", and no Python that is known here (3.8 to 3.15) is that; say which image it runs \
         on with --base IMAGE (base in nanoos.toml)"
    );
    assert!(
        refusal(&[("main.py", ""), (".python-version", "pypy3.10")]).starts_with(".python-version says \"pypy3.10\"")
    );
}

#[test]
fn a_lone_program_needs_no_packages() {
    let found = plan(&[("main.py", ""), (".venv/pyvenv.cfg", "")]);
    assert_eq!((&found.build, started(&found).as_str()), (&Build::None, "python main.py"));
    assert_eq!(found.left_out, [".venv"]);
    let env = ["PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"].map(|name| (name.to_owned(), "1".to_owned()));
    assert_eq!(found.env, env);
    let unlisted = plan(&[("app.py", "app = Flask('x')\n")]).warnings;
    let said =
        "app.py makes an application of Flask, and nothing lists the package flask: write it into requirements.txt";
    assert_eq!(unlisted, [said]);
    let flask = plan(&[("app.py", "app = Flask('x')\n"), ("requirements.txt", "Flask\n")]);
    assert!(flask.warnings.is_empty());
    assert!(flask.env.contains(&("FLASK_RUN_HOST".to_owned(), "0.0.0.0".to_owned())));
}

#[test]
fn broken_and_startless_projects_are_refused() {
    assert_eq!(
        refusal(&[("main.py", ""), ("pyproject.toml", "[project]\nname = \n")]),
        "pyproject.toml: this is no TOML: string values must be quoted, expected literal string at line 2"
    );
    assert_eq!(
        refusal(&[("requirements.txt", "flask\n")]),
        "nothing says how this python project is started: there is no manage.py that names settings with a WSGI module, no \
         file that makes an application of FastAPI, Starlette or Flask, no main.py and no app.py; write a Procfile with \
         `web: COMMAND`, or give --cmd"
    );
}
