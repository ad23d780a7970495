"""Properties that hold e-mail addresses, names or phone numbers are known by their names, and no others."""

from __future__ import annotations

import pytest

from core.rules.personal_properties import is_personal

PERSONAL = (
    "email.work", "emailHome", "email (private)", "phone_home", "phone (work)", "name_raw", "firstname_hash",
    "$email", "$name", "$first_name", "$last_name", "$phone", "$username", "email", "Email", "EMAIL", "e-mail",
    "E-Mail", "eMail", "Email Address", "email_address", "emailAddress", "emailaddress", "EMAIL-ID", "email2",
    "email_1", "user_email", "userEmail", "useremail", "Work  E-Mail", "contact.email",
    "customer email address", "mail", "email_hash", "email_sha256", "emailMD5", "  email  ", "e_mail", "Ｅｍａｉｌ",
    "em\u200bail", "correo", "phone", "Phone Number", "phone_number", "phoneNumber", "phonenumber", "phone_no",
    "mobile", "mobile number", "Mobile-Phone", "cell phone", "cellPhone", "telephone", "Telephone No",
    "home_phone", "work phone number", "msisdn", "contact number", "user_mobile", "WhatsApp Number", "fax",
    "user.email.value", "email_value", "emailValue", "phoneNumberFormatted", "Full Name (legal)", "full_name_en",
    "userEMAILaddress", "correo electrónico", "nombre completo", "courrier électronique",
    "phone2", "phone_e164", "Telefon", "teléfono", "name", "Name", "NAME", "first name", "firstName",
    "firstname", "FIRST_NAME", "last-name", "surname", "Full Name", "fullname", "full_name", "middle name",
    "given_name", "familyName", "nickname", "display_name", "username", "user name", "userName", "user_name",
    "name_first", "name.last", "billing first name", "customer_name", "my name", "fname", "lname", "Vorname",
    "prénom", "owner name", "name2", "$$name", "names", "氏名", "電話番号",
)  # fmt: skip
IMPERSONAL = (
    "home", "work", "main", "other", "workspace_home", "primary", "mobile_id", "account_name", "$city", "users",
    "$apptimize_user_id", "$user_id", "$distinct_id", "user_id", "customer_id", "id", "", "$", "_", "123",
    "campaign_name", "campaignName", "plan name", "Plan Name", "phone_model", "phone brand", "Phone OS",
    "company_name", "organization name", "event name", "app_name", "hostname", "host name", "domain name",
    "file_name", "city name", "email_verified", "email_opt_in", "emails_sent", "has_email", "is mobile",
    "isMobile", "email domain", "phone_verified", "has_phone", "phone country code", "mobile_app_version",
    "mobile os", "smartphone", "smart phone", "microphone", "headphone", "test_cell", "experiment cell",
    "value", "plan_name_en", "format", "campaign_name_value",
    "rename", "name_length", "name_changed_at", "tournament", "surrogate", "filename", "mailing list",
    "mail_provider", "voice mail", "contact_id", "account_number", "order number", "user_number",
    "email_campaign_id", "first_seen", "last_login", "full", "device_name", "screen_name", "team name",
    "username_set", "crm_contact_key", "member", "nominal", "telemetry", "hotel", "first_phone_model", "enamel",
)  # fmt: skip


@pytest.mark.parametrize("names", [PERSONAL])
def test_what_holds_personal_data_is_known_however_it_is_spelled(names: tuple[str, ...]):
    assert [name for name in names if not is_personal(name)] == []


@pytest.mark.parametrize("names", [IMPERSONAL])
def test_what_is_about_something_else_is_taken(names: tuple[str, ...]):
    assert [name for name in names if is_personal(name)] == []
