"""Environment: versions of driver, workers and model."""

from sparkds.models.environment import differences, versions_here, versions_of_model, versions_of_workers


def test_a_patch_does_not_matter_and_a_minor_version_does():
    here = {"python": "3.11.7", "numpy": "2.4.6", "mlflow": "3.17.2", "scikit-learn": "1.9.1"}
    assert differences({"numpy": "2.4.0", "python": "3.11.1"}, here, [here]) == []
    (told,) = differences({"scikit-learn": "1.6.1"}, here, [here])
    assert told.endswith("install 'scikit-learn==1.6.1'")
    (told,) = differences({}, here, [{**here, "numpy": "1.26.4"}])
    assert told == "numpy is 1.26.4 on a worker and 2.4.6 on the driver: install the same"


def test_a_models_files_say_what_it_was_made_with(tmp_path):
    (tmp_path / "requirements.txt").write_text("mlflow==3.17.2\nscikit_learn==1.9.1\npandas<3\n")
    (tmp_path / "python_env.yaml").write_text("python: 3.11.7\nbuild_dependencies:\n- pip\n")
    assert versions_of_model(str(tmp_path)) == {"mlflow": "3.17.2", "scikit-learn": "1.9.1", "python": "3.11.7"}
    assert versions_of_model(str(tmp_path / "nothing")) == {}


def test_workers_are_asked(spark):
    assert versions_of_workers(spark) == [versions_here()]
